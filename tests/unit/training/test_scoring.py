from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss

from ilk.training.scoring import Scores, chosen_metric, scores_of


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, 80)
    logits = rng.normal(size=(80, 4)).astype(np.float32)
    logits[np.arange(80), targets] += 1
    return logits, targets


def test_scores_are_those_of_scikit_learn(scored):
    logits, targets = scored
    scores = scores_of(logits, targets)
    predicted = logits.argmax(axis=1)
    probabilities = torch.from_numpy(logits).double().softmax(dim=1).numpy()
    assert scores.n == 80
    assert scores.accuracy == accuracy_score(targets, predicted)
    assert scores.macro_f1 == pytest.approx(f1_score(targets, predicted, average="macro"))
    assert scores.loss == pytest.approx(log_loss(targets, probabilities), rel=1e-5)


def test_scores_do_not_overflow(scored):
    logits, targets = scored
    scores = scores_of(1e6 * logits, targets)
    assert math.isfinite(scores.loss)
    assert scores.accuracy == scores_of(logits, targets).accuracy


def test_a_class_that_is_never_named_or_never_there_scores_nothing_and_says_nothing():
    logits = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    assert scores_of(logits, np.array([0, 0, 2])).macro_f1 == pytest.approx(1 / 2)


GOOD = Scores(loss=0.5, accuracy=0.8, macro_f1=0.7, n=10)


@pytest.mark.parametrize(
    ("metric", "changes", "better"),
    [
        ("accuracy", {"accuracy": 0.9, "loss": 9, "macro_f1": 0}, True),
        ("accuracy", {"accuracy": 0.7, "loss": 0, "macro_f1": 1}, False),
        ("accuracy", {"loss": 0.4}, True),
        ("accuracy", {"loss": 0.6}, False),
        ("accuracy", {}, False),
        ("macro_f1", {"macro_f1": 0.8, "loss": 9, "accuracy": 0}, True),
        ("macro_f1", {"macro_f1": 0.6, "loss": 0, "accuracy": 1}, False),
        ("loss", {"loss": 0.4, "accuracy": 0, "macro_f1": 0}, True),
        ("loss", {"loss": 0.6, "accuracy": 1, "macro_f1": 1}, False),
    ],
)
def test_scores_are_compared_by_the_metric_and_then_by_loss(metric, changes, better):
    assert replace(GOOD, **changes).better_than(GOOD, metric) == better


@pytest.mark.parametrize(
    ("counts", "metric"),
    [
        ((10, 10), "accuracy"),
        ((15, 10), "accuracy"),
        ((16, 10), "macro_f1"),
        ((1, 0, 1), "accuracy"),
    ],
)
def test_unequal_classes_are_judged_by_macro_f1(counts, metric):
    targets = np.repeat(np.arange(len(counts)), counts)
    assert chosen_metric("auto", targets) == metric


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "loss"])
def test_a_metric_that_is_named_is_taken(metric):
    assert chosen_metric(metric, np.array([0] * 90 + [1])) == metric
