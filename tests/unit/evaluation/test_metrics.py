from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sk

from ilk.evaluation.metrics import (
    accuracy,
    brier_scores,
    confusion_matrix,
    log_loss,
    log_losses,
    macro_f1,
    mean_recall,
)


@pytest.fixture
def answers():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, 200)
    logits = rng.normal(size=(200, 4))
    logits[np.arange(200), targets] += 1
    return targets, softmax(logits, axis=1)


def test_metrics_are_those_of_scikit_learn(answers):
    targets, p = answers
    predicted = p.argmax(axis=1)
    confusion = confusion_matrix(targets, predicted, 4)
    assert confusion.tolist() == sk.confusion_matrix(targets, predicted).tolist()
    assert accuracy(targets, predicted) == sk.accuracy_score(targets, predicted)
    assert macro_f1(targets, predicted) == pytest.approx(
        sk.f1_score(targets, predicted, average="macro")
    )
    balanced = sk.balanced_accuracy_score(targets, predicted)
    assert mean_recall(confusion) == pytest.approx(balanced)
    assert log_loss(targets, p) == pytest.approx(sk.log_loss(targets, p))
    expected = sk.brier_score_loss(np.eye(4)[targets], p, scale_by_half=False)
    assert brier_scores(targets, p).mean() == pytest.approx(expected)


def test_classes_that_do_not_occur_are_not_in_the_macro_f1():
    targets, predicted = np.array([0, 0, 2]), np.array([0, 0, 1])
    assert macro_f1(targets, predicted) == pytest.approx(1 / 2)


def test_a_probability_that_underflowed_has_a_finite_loss():
    found = log_losses(np.array([1]), np.array([[1.0, 0.0]]))
    assert np.isfinite(found).all()
    assert found[0] > 20


def test_probabilities_of_a_diverged_training_have_no_loss():
    assert np.isnan(log_loss(np.array([0]), np.array([[np.nan, np.nan]])))
