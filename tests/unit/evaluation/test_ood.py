from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ilk.evaluation.ood import auroc, ood_metrics


@pytest.mark.parametrize("shift", [0.0, 0.7, 5.0])
def test_the_area_is_that_of_scikit_learn(shift):
    rng = np.random.default_rng(0)
    negatives, positives = rng.normal(size=80), rng.normal(shift, 1, 60).round(1)
    found = auroc(negatives, positives)
    truth, values = [0] * 80 + [1] * 60, [*negatives, *positives]
    assert found.value == pytest.approx(roc_auc_score(truth, values))
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_pictures_above_the_threshold_are_flagged():
    found = ood_metrics(np.array([0.0, 1, 2, 9]), 3, np.array([4.0, 5]))
    assert found.false_positive_rate.value == 0.25
    assert found.true_positive_rate.value == 1
    assert found.auroc.value == 0.75
    assert found.to_dict()["found"]["n"] == 2


def test_without_ood_pictures_only_false_positives_are_known():
    found = ood_metrics(np.array([0.0, 1]), 3)
    assert found.false_positive_rate.value == 0
    assert found.true_positive_rate is found.auroc is None
