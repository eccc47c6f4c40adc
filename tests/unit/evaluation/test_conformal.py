from __future__ import annotations

import numpy as np
import pytest

from ilk.errors import DataError
from ilk.evaluation.conformal import FREE, PENALTY, covered, limit, oddness, sets

METHODS = ["lac", "raps"]


def drawn(number, classes=6, seed=0):
    rng = np.random.default_rng(seed)
    powers = np.exp(rng.normal(0, 1.5, (number, classes)))
    p = powers / powers.sum(axis=1, keepdims=True)
    return p, (p.cumsum(axis=1) > rng.random((number, 1))).argmax(axis=1)


def test_lac_is_one_minus_the_probability():
    p, _ = drawn(5)
    assert oddness(p, "lac") == pytest.approx(1 - p)


def test_raps_of_a_case_worked_out_by_hand():
    p = np.array([[0.1, 0.6, 0.3]])
    part = np.random.default_rng(5).random()
    expected = np.array([[0.9 + part * 0.1, part * 0.6, 0.6 + part * 0.3]])
    assert oddness(p, "raps", seed=5) == pytest.approx(expected)


def test_raps_punishes_classes_beyond_the_first_few():
    p = np.full((1, FREE + 3), 1 / (FREE + 3))
    part = np.random.default_rng(0).random()
    found = np.sort(oddness(p, "raps")[0]) - (np.arange(FREE + 3) + part) / (FREE + 3)
    assert found == pytest.approx([0] * FREE + [PENALTY, 2 * PENALTY, 3 * PENALTY])


def test_the_limit_is_the_rank_that_the_proof_asks_for():
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    targets = np.zeros(4, int)
    assert limit(p, targets, 0.8) == pytest.approx(0.4)  # ceil(5 x 0.8) = 4th of 0.1 to 0.4
    assert limit(p, targets, 0.6) == pytest.approx(0.3)


def test_too_few_pictures_are_refused_with_the_number_it_takes():
    p, targets = drawn(8)
    with pytest.raises(DataError, match=r"90 % of the time need at least 9 .* there are 8"):
        limit(p, targets, 0.9)
    p, targets = drawn(9)
    limit(p, targets, 0.9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wanted", [0.8, 0.95])
def test_sets_hold_the_true_class_as_often_as_promised(method, wanted):
    p, targets = drawn(20_000)
    half = len(p) // 2
    highest = limit(p[:half], targets[:half], wanted, method)
    found = covered(sets(p[half:], highest, method), targets[half:], tuple("abcdef"))
    assert found.overall.value == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_where_every_class_is_too_odd_the_set_is_empty(method):
    p, _ = drawn(50)
    assert not sets(p, -1.0, method).any()


def test_coverage_is_told_by_class_and_size():
    kept = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 1, 1]], bool)
    found = covered(kept, np.array([0, 0, 0, 1]), ("a", "b", "c"))
    assert found.overall.value == 0.75
    assert {name: m.value for name, m in found.by_class.items()} == {
        "a": pytest.approx(2 / 3),
        "b": 1.0,
    }
    assert found.mean_size == 7 / 4
    assert found.singles.value == 0.5
    assert found.to_dict()["by_class"]["b"]["n"] == 1
