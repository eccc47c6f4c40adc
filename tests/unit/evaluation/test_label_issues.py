from __future__ import annotations

import numpy as np
import pytest

from ilk.evaluation.label_issues import adjusted_accuracy_at_least


@pytest.mark.parametrize(
    ("recalls", "counts", "low", "high"),
    [
        ([1, 1], [10_000, 10_000], 0.999, 1),
        ([0.5, 0.5], [10_000, 10_000], -0.02, 0),
        ([0.75, 0.75], [10_000, 10_000], 0.48, 0.5),
        ([1, 1], [10, 10], 0.8, 0.95),
        ([1, 0, 0, 0], [1_000] * 4, -0.01, 0),
    ],
)
def test_skill_is_nought_at_chance_and_one_at_certainty(recalls, counts, low, high):
    assert low <= adjusted_accuracy_at_least(np.array(recalls, float), np.array(counts)) <= high
