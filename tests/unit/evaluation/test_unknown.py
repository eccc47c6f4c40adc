from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ilk.evaluation.unknown import alarms, auroc


@pytest.mark.parametrize("shift", [0.0, 0.7, 5.0])
def test_the_area_is_that_of_scikit_learn(shift):
    rng = np.random.default_rng(0)
    usual, strange = rng.normal(size=80), rng.normal(shift, 1, 60).round(1)
    found = auroc(usual, strange)
    truth, values = [0] * 80 + [1] * 60, [*usual, *strange]
    assert found.value == pytest.approx(roc_auc_score(truth, values))
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_alarms_are_counted_on_both_sides():
    found = alarms(np.array([0.0, 1, 2, 9]), 3, np.array([4.0, 5]))
    assert (found.false.value, found.true.value, found.auroc.value) == (0.25, 1, 0.75)
    assert found.to_dict()["found"]["n"] == 2


def test_without_strange_pictures_only_false_alarms_are_known():
    found = alarms(np.array([0.0, 1]), 3)
    assert (found.false.value, found.true, found.auroc) == (0, None, None)
