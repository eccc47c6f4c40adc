from __future__ import annotations

import numpy as np
import pytest

from ilk.errors import DataError
from ilk.evaluation.conformal import FREE_RANKS, PENALTY, limit, nonconformity, set_scores, sets

METHODS = ["lac", "raps"]


def drawn(number, classes=6, seed=0):
    rng = np.random.default_rng(seed)
    powers = np.exp(rng.normal(0, 1.5, (number, classes)))
    p = powers / powers.sum(axis=1, keepdims=True)
    return p, (p.cumsum(axis=1) > rng.random((number, 1))).argmax(axis=1)


def test_lac_is_one_minus_the_probability():
    p, _ = drawn(5)
    assert nonconformity(p, "lac") == pytest.approx(1 - p)


def test_raps_of_a_case_worked_out_by_hand():
    p = np.array([[0.1, 0.6, 0.3]])
    part = np.random.default_rng(5).random()
    expected = np.array([[0.9 + part * 0.1, part * 0.6, 0.6 + part * 0.3]])
    assert nonconformity(p, "raps", seed=5) == pytest.approx(expected)


def test_raps_penalises_classes_beyond_the_first_few():
    number = FREE_RANKS + 3
    p = np.full((1, number), 1 / number)
    part = np.random.default_rng(0).random()
    found = np.sort(nonconformity(p, "raps")[0]) - (np.arange(number) + part) / number
    assert found == pytest.approx([0] * FREE_RANKS + [PENALTY, 2 * PENALTY, 3 * PENALTY])


def test_the_limit_is_the_rank_that_the_proof_asks_for():
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    targets = np.zeros(4, int)
    assert limit(p, targets, 0.8) == pytest.approx(0.4)  # ceil(5 x 0.8) = 4th of 0.1 to 0.4
    assert limit(p, targets, 0.6) == pytest.approx(0.3)


def test_too_few_pictures_are_refused_with_the_number_it_takes():
    p, targets = drawn(8)
    with pytest.raises(DataError, match=r"coverage of 90 % need at least 9 .* there are 8"):
        limit(p, targets, 0.9)
    p, targets = drawn(9)
    limit(p, targets, 0.9)


@pytest.mark.parametrize("wanted", [0.8, 0.95])
def test_sets_have_the_coverage_that_they_promise(wanted):
    p, targets = drawn(20_000)
    half = len(p) // 2
    held_out = p[:half], targets[:half]
    found = set_scores(p[half:], targets[half:], held_out, tuple("abcdef"), wanted)
    assert [scores.method for scores in found] == METHODS
    for scores in found:
        assert scores.coverage.value == pytest.approx(wanted, abs=0.01)
        assert scores.held_out == half


@pytest.mark.parametrize("method", METHODS)
def test_where_no_class_fits_the_set_is_empty(method):
    p, _ = drawn(50)
    assert not sets(p, -1.0, method).any()


def test_coverage_is_given_by_class_and_size():
    held_out = np.full((9, 3), 0.5), np.zeros(9, int)  # so sets hold what has at least 0.5
    p = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0.4, 0.6, 0]])
    found = set_scores(p, np.array([0, 0, 0, 1]), held_out, ("a", "b", "c"))[0]
    assert found.method == "lac"
    assert found.coverage.value == 0.75
    assert {name: m.value for name, m in found.by_class.items()} == {
        "a": pytest.approx(2 / 3),
        "b": 1.0,
    }
    assert found.mean_size == 5 / 4
    assert found.singles.value == 0.75
    assert found.to_dict()["by_class"]["b"]["n"] == 1


def test_too_few_held_out_pictures_give_no_sets():
    p, targets = drawn(8)
    assert set_scores(p, targets, (p, targets), tuple("abcdef")) == []
