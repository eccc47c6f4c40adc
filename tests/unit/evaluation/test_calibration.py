from __future__ import annotations

import numpy as np
import pytest

from ilk.evaluation.calibration import fit_temperature, reliability
from ilk.evaluation.metrics import log_loss
from ilk.inference.classifier import softmax


def drawn(number=4000, classes=5, factor=1.0, seed=0):
    """Return logits ``factor`` times too large, and classes drawn by the honest ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (number, classes))
    powers = np.exp(logits)
    honest = powers / powers.sum(axis=1, keepdims=True)
    targets = (honest.cumsum(axis=1) > rng.random((number, 1))).argmax(axis=1)
    return (factor * logits).astype(np.float32), targets


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_the_temperature_undoes_what_logits_are_too_large_by(factor):
    assert fit_temperature(*drawn(factor=factor)) == pytest.approx(factor, rel=0.07)


def test_no_other_temperature_has_a_lower_log_loss():
    logits, targets = drawn(300, factor=2.0)
    best = fit_temperature(logits, targets)
    losses = [log_loss(targets, softmax(logits, best * f)) for f in (0.7, 0.9, 1, 1.1, 1.4)]
    assert min(losses) == losses[2]


def test_the_temperature_stays_within_bounds():
    sure = np.tile(np.array([[0.1, 0.0], [0.0, 0.1]], np.float32), (10_000, 1))
    right = np.tile([0, 1], 10_000)
    assert fit_temperature(sure, right) == pytest.approx(0.05)
    assert fit_temperature(100 * sure, 1 - right) == pytest.approx(20)
    assert fit_temperature(np.zeros((0, 2), np.float32), np.array([], int)) == 1.0


def test_a_few_right_answers_are_no_certainty():
    sure = np.array([[2.0, 0.0], [0.0, 2.0]] * 4, np.float32)
    found = fit_temperature(sure, np.array([0, 1] * 4))
    assert 0.5 < found < 1
    assert softmax(sure, found).max() < 0.99


def test_huge_logits_are_no_trouble():
    logits, targets = drawn(200)
    assert np.isfinite(fit_temperature(logits * 1e4, targets))


def test_the_error_of_a_case_worked_out_by_hand():
    """Ten at 0.95, of which 8 are right; ten at 0.55, of which 7: 0.5 x 0.15 + 0.5 x 0.15."""
    p = np.array([[0.95, 0.05]] * 10 + [[0.55, 0.45]] * 10)
    targets = np.array([0] * 8 + [1] * 2 + [0] * 7 + [1] * 3)
    found = reliability(p, targets, bins=10)
    assert found.error.value == pytest.approx(0.15)
    assert found.error.n == 20
    assert found.counts.tolist() == [0, 0, 0, 0, 0, 10, 0, 0, 0, 10]
    assert found.accuracy[[5, 9]] == pytest.approx([0.7, 0.8])
    assert found.confidence[[5, 9]] == pytest.approx([0.55, 0.95])
    record = found.to_dict()["bins"]
    assert [bin["n"] for bin in record] == [10, 10]
    assert record[0]["from"] == pytest.approx(0.5)


def test_honest_probabilities_have_a_small_error_and_bold_ones_a_large():
    logits, targets = drawn()
    assert reliability(softmax(logits), targets).error.value < 0.03
    assert reliability(softmax(3 * logits), targets).error.low > 0.1


def test_the_interval_holds_the_error():
    logits, targets = drawn(500, factor=2.0)
    error = reliability(softmax(logits), targets).error
    assert error.low < error.value < error.high


def test_certainty_falls_into_the_last_bin():
    found = reliability(np.array([[1.0, 0.0]]), np.array([0]))
    assert found.counts[-1] == 1
    assert found.error.value == 0


def test_no_pictures_have_no_error():
    found = reliability(np.zeros((0, 3)), np.zeros(0, int))
    assert np.isnan(found.error.value)
    assert (found.error.low, found.error.high, found.error.n) == (0.0, 1.0, 0)
