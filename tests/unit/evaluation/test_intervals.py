from __future__ import annotations

import math

import numpy as np
import pytest

from ilk.evaluation.intervals import Measured, bootstrap, wilson
from ilk.evaluation.metrics import mean_f1, mean_recall


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        # Newcombe 1998, table I, method 3 (Wilson without continuity correction)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(right, n, low, high):
    found = wilson(right, n)
    assert found.value == right / n
    assert found.n == n
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_wilson_by_hand():
    z2 = 1.959963984540054**2
    found = wilson(5, 10)
    half = math.sqrt(z2 * 0.25 / 10 + z2 * z2 / 400) / (1 + z2 / 10)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_wilson_of_nothing_claims_nothing():
    found = wilson(0, 0)
    assert math.isnan(found.value)
    assert (found.low, found.high, found.n) == (0, 1, 0)


def test_wilson_of_all_right_and_all_wrong_stays_within_0_and_1():
    z2 = 1.959963984540054**2
    right, wrong = wilson(50, 50), wilson(0, 50)
    assert (right.value, right.high) == (1, 1)
    assert right.low == pytest.approx(50 / (50 + z2))
    assert (wrong.value, wrong.low) == (0, 0)
    assert wrong.high == pytest.approx(1 - right.low)


def test_measured_reads_well_and_is_the_record_of_the_json():
    measured = Measured(0.986, 0.972, 0.994, 1500)
    assert str(measured) == "98.6 % (95 % interval 97.2 to 99.4, n = 1,500)"
    assert measured.to_dict() == {"value": 0.986, "low": 0.972, "high": 0.994, "n": 1500}


def confusion_of(n, seed=0, classes=4):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    guess = np.where(rng.random(n) < 0.8, truth, rng.integers(0, classes, n))
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (truth, guess), 1)
    return confusion


@pytest.mark.parametrize("score", [mean_recall, mean_f1])
def test_bootstrap_holds_the_value_and_shrinks_with_n(score):
    widths = []
    for n in (40, 400, 4000):
        found = bootstrap(confusion_of(n), score)
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.n == n
        widths.append(found.high - found.low)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_bootstrap_of_one_class_agrees_with_the_binomial():
    found = bootstrap(np.array([[800, 200], [0, 0]]), mean_recall)
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt(0.16 / 1000), rel=0.15)


def test_bootstrap_depends_on_the_seed_alone():
    confusion = confusion_of(100)
    assert bootstrap(confusion, mean_f1, seed=3) == bootstrap(confusion, mean_f1, seed=3)
    assert bootstrap(confusion, mean_f1, seed=3) != bootstrap(confusion, mean_f1, seed=4)


@pytest.mark.parametrize(("classes", "each", "accuracy"), [(2, 10, 0.95), (20, 10, 0.8)])
def test_the_bootstrap_interval_covers_the_truth_about_as_often_as_it_says(classes, each, accuracy):
    chances = np.full((classes, classes), (1 - accuracy) / (classes - 1))
    np.fill_diagonal(chances, accuracy)
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(40):
        confusion = np.stack([rng.multinomial(each, row) for row in chances])
        found = bootstrap(confusion, mean_recall, seed=seed)
        hits += found.low <= accuracy <= found.high
    assert hits >= 34
