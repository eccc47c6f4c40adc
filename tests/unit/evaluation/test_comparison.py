from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from ilk.data.catalog import Picture
from ilk.errors import DataError
from ilk.evaluation.comparison import compare_evaluations, compared


def flags(both, only_a, only_b, neither):
    a = [True] * both + [True] * only_a + [False] * only_b + [False] * neither
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return np.array(a), np.array(b)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        a = rng.random(150) < 0.8
        b = np.where(rng.random(150) < 0.8, a, rng.random(150) < 0.6)
        truth = 0.2 * (0.6 - 0.8)
        found = compared(a, b).difference
        held += found.low <= truth <= found.high
    assert 0.92 <= held / 400 <= 0.985


def test_the_test_is_mcnemar_s():
    found = compared(*flags(50, 3, 12, 5))
    assert found.p_value == pytest.approx(2 * binom.cdf(3, 15, 0.5))
    assert compared(*flags(5, 0, 0, 5)).p_value == 1


def test_a_clear_winner_is_named_with_its_lead():
    found = compared(*flags(1500, 50, 150, 300))
    assert found.decided
    said = found.in_words("A", "B")
    assert said.startswith("B is better than A by 5.0 points (95 % interval ")
    assert said.endswith("n = 2,000).")
    turned = compared(*flags(1500, 150, 50, 300)).in_words("A", "B")
    assert turned.startswith("A is better than B by 5.0 points")


def test_what_the_test_does_not_show_is_not_decided():
    """The interval of 0 against 5 of 100 is above zero, McNemar's exact test says p = 0.06."""
    found = compared(*flags(90, 0, 5, 5))
    assert found.p_value > 0.05
    assert not found.decided


def test_where_nothing_can_be_seen_it_says_how_many_pictures_would_be_needed():
    found = compared(*flags(90, 4, 6, 0))
    assert not found.decided
    assert found.in_words("A", "B").startswith("No significant difference on 100 pictures; about ")
    assert (
        1_500 < found.needed < 2_500
    )  # of 10 % of pairs, 2 points: (1.96 sqrt .1 + .84 sqrt .0996)^2 / .0004
    same = compared(*flags(10, 0, 0, 3))
    assert same.needed is None
    said = same.in_words("A", "B")
    assert said.startswith("No significant difference on 13 pictures: B minus A is +0.0 points")


@pytest.fixture
def evaluation(evaluated):
    def call(paths, predicted, classes):
        labels = ["cat", "dog"] * (len(paths) // 2)
        pictures = [Picture(p, label) for p, label in zip(paths, labels, strict=True)]
        return evaluated(None, predicted, classes, pictures=pictures)

    return call


def test_models_whose_classes_are_in_another_order_are_compared_by_name(evaluation):
    paths = ["a", "b", "c", "d"]
    a = evaluation(paths, np.array([0, 1, 0, 0]), ("cat", "dog"))
    b = evaluation(paths, np.array([1, 0, 1, 0]), ("dog", "cat"))
    found = compare_evaluations(a, b)
    assert (found.overall.only_a, found.overall.only_b) == (0, 1)
    assert found.by_class["dog"].only_b == 1
    assert found.by_class["cat"].difference.value == 0


def test_other_pictures_are_refused(evaluation):
    a = evaluation(["a", "b"], np.array([0, 1]), ("cat", "dog"))
    b = evaluation(["a", "c"], np.array([0, 1]), ("cat", "dog"))
    with pytest.raises(DataError, match="same pictures"):
        compare_evaluations(a, b)
