from __future__ import annotations

import numpy as np
import pytest

from ilk.data.catalog import Picture
from ilk.evaluation.comparison import compared
from ilk.evaluation.intervals import bootstrap, mean, share
from ilk.evaluation.metrics import mean_recall
from ilk.evaluation.units import Units


def units(sizes, copies=True):
    group = np.repeat(np.arange(len(sizes)), sizes)
    return Units(group, group if copies else np.arange(len(group)), not copies)


def test_independent_pictures_have_no_units():
    assert Units.of([Picture("a", digest="1"), Picture("b", digest="2")]) is None
    assert Units.of([]) is None


def test_copies_and_groups_are_counted_once_and_said():
    pictures = [Picture(str(i), digest=d) for i, d in enumerate("aabc")]
    assert str(Units.of(pictures)) == "4 pictures, 3 distinct"
    near = [Picture(str(i), digest=str(i), near="x" * (i < 3)) for i in range(4)]
    assert str(Units.of(near)) == "4 pictures, 2 distinct"
    of_patients = [Picture(str(i), digest=str(i), group=f"P{i % 2}") for i in range(4)]
    assert str(Units.of(of_patients)) == "4 pictures of 2 groups"


def test_copies_do_not_narrow_an_interval():
    right = np.arange(60) < 50
    once, tenfold = share(right), share(np.repeat(right, 10), units([10] * 60))
    assert tenfold.n == 60
    assert tenfold.value == once.value
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))


def test_pictures_of_a_group_that_are_answered_independently_count_nearly_fully():
    right = np.random.default_rng(0).random(3000) < 0.8
    number = units([10] * 300, copies=False).effective_number(right)
    assert 2000 < number <= 3000


@pytest.mark.parametrize("accuracy", [0.75, 0.95])
@pytest.mark.parametrize("copies", [True, False])
def test_intervals_cover_the_truth_where_answers_within_a_unit_agree(accuracy, copies):
    draw = np.random.default_rng(0)
    covered = alone = 0
    for _ in range(1000):
        sizes = draw.integers(1, 20, 100)
        right = np.repeat(draw.random(100) < accuracy, sizes)
        found, naive = share(right, units(sizes, copies)), share(right)
        covered += found.low <= accuracy <= found.high
        alone += naive.low <= accuracy <= naive.high
    assert 930 <= covered <= 970
    assert alone < 700


def test_other_scores_are_as_uncertain_as_without_the_copies():
    draw = np.random.default_rng(0)
    values = draw.normal(size=80)
    once, tenfold = mean(values), mean(np.repeat(values, 10), units=units([10] * 80))
    assert tenfold.n == 80
    assert tenfold.high - tenfold.low == pytest.approx(once.high - once.low, rel=0.15)
    confusion = np.array([[30, 5], [8, 40]])
    alone = bootstrap(confusion, mean_recall)
    many = bootstrap(10 * confusion, mean_recall, effective=np.array([35.0, 48.0]))
    assert many.high - many.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_copies_do_not_decide_a_comparison():
    a, b = np.arange(40) < 30, np.arange(40) < 33
    once, tenfold = compared(a, b), compared(*(np.repeat(x, 10) for x in (a, b)), units([10] * 40))
    assert compared(np.repeat(a, 10), np.repeat(b, 10)).decided
    assert not tenfold.decided
    assert tenfold.difference.n == 40
    assert tenfold.p_value == pytest.approx(once.p_value)
    assert tenfold.needed == once.needed
