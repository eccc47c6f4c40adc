from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sk

from ilk.evaluation.confidence import confidence, uncalibrated

NAMES = ("ant", "bee", "cat", "dog")


def drawn(n=300, classes=4, seed=0, temperature=1.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * 3
    probabilities = softmax(logits, axis=1)
    targets = np.array([rng.choice(classes, p=row) for row in probabilities])
    return softmax(logits / temperature, axis=1).astype(np.float32), targets


def test_scores_are_those_of_scikit_learn():
    p, targets = drawn()
    found = confidence(p, targets, NAMES)
    assert found.log_loss.value == pytest.approx(sk.log_loss(targets, p), rel=1e-5)
    for k, name in enumerate(NAMES):
        mine = targets == k
        assert found.roc_auc[name] == pytest.approx(sk.roc_auc_score(mine, p[:, k]))
        expected = sk.average_precision_score(mine, p[:, k])
        assert found.average_precision[name] == pytest.approx(expected)
    for k in (2, 3):
        expected = sk.top_k_accuracy_score(targets, p, k=k)
        assert found.top[k].value == pytest.approx(expected)
    assert set(found.top) == {2, 3}


def test_intervals_hold_the_score_and_shrink_with_more_pictures():
    few, many = (confidence(*drawn(n), NAMES) for n in (50, 5_000))
    for name in ("log_loss", "brier"):
        wide, narrow = getattr(few, name), getattr(many, name)
        assert wide.low < wide.value < wide.high
        assert narrow.high - narrow.low < (wide.high - wide.low) / 4


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_temperature_scaling_can_be_undone(temperature):
    cool, _ = drawn(temperature=temperature)
    raw, _ = drawn()
    np.testing.assert_allclose(uncalibrated(cool, temperature), raw, atol=1e-5)


def test_probabilities_that_underflowed_are_no_obstacle():
    p = np.array([[1.0, 0.0, 0.0]], np.float32)
    found = uncalibrated(p, 2.0)
    assert np.isfinite(found).all()
    assert found.sum() == pytest.approx(1)


def test_a_class_that_all_or_none_have_has_no_area():
    p, _ = drawn(20)
    found = confidence(p, np.zeros(20, np.int64), NAMES)
    assert found.roc_auc == found.average_precision == {}
    assert found.log_loss.n == 20


def test_one_correct_prediction_is_scored():
    found = confidence(np.array([[0.9, 0.1]]), np.array([0]), NAMES[:2])
    assert found.after.error.value == pytest.approx(0.1)
    assert found.risk_coverage.area == 0
    assert found.top == {}
