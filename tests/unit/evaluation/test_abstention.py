from __future__ import annotations

import numpy as np
import pytest

from ilk.errors import DataError, UsageError
from ilk.evaluation.abstention import (
    CURVE_POINTS,
    at,
    risk_coverage,
    threshold_for_coverage,
    threshold_for_precision,
)
from ilk.evaluation.intervals import wilson


def test_the_curve_of_a_case_worked_out_by_hand():
    curve = risk_coverage(np.array([0.9, 0.6, 0.8, 0.7]), np.array([True, False, False, True]))
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk == pytest.approx([0, 1 / 2, 1 / 3, 2 / 4])
    assert curve.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert curve.best_area == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)


def test_the_order_of_equal_ones_means_nothing():
    right = np.array([True, False, True, False, True])
    sure = np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    one = risk_coverage(sure, right)
    other = risk_coverage(sure[::-1], right[::-1])
    assert one.risk == pytest.approx(other.risk)
    assert one.risk == pytest.approx([0, (2 / 3) / 2, (4 / 3) / 3, 2 / 4, 2 / 5])


def test_all_right_has_no_area():
    curve = risk_coverage(np.array([0.5, 0.6]), np.array([True, True]))
    assert curve.area == curve.best_area == 0


def test_a_long_curve_is_told_in_few_points():
    rng = np.random.default_rng(0)
    record = risk_coverage(rng.random(5000), rng.random(5000) < 0.8).to_dict()
    assert len(record["coverage"]) == len(record["risk"]) == CURVE_POINTS
    assert record["coverage"][-1] == 1.0


def test_no_prediction_has_no_curve():
    with pytest.raises(DataError, match="at least one prediction"):
        risk_coverage(np.array([]), np.array([], bool))


@pytest.mark.parametrize(("wanted", "value"), [(0.5, 0.8), (0.75, 0.7), (0.51, 0.7), (0.1, 0.9)])
def test_a_coverage_is_reached_by_as_few_as_it_takes(wanted, value):
    found = threshold_for_coverage(np.array([0.9, 0.6, 0.8, 0.7]), np.ones(4, bool), wanted)
    assert found.value == value
    assert found.coverage.value >= wanted


def test_a_precision_holds_with_its_interval():
    rng = np.random.default_rng(0)
    confidence = rng.random(4000)
    right = rng.random(4000) < confidence  # honest
    found = threshold_for_precision(confidence, right, 0.9)
    assert found.precision.low >= 0.9
    assert 0.8 < found.value < 0.95
    assert found.coverage.value == pytest.approx((confidence >= found.value).mean())
    # A twentieth more does not show it.
    more = threshold_for_coverage(confidence, right, found.coverage.value + 0.05)
    assert more.precision.low < 0.9


def test_a_precision_that_cannot_be_shown_says_what_it_takes():
    with pytest.raises(
        DataError, match=r"0\.99 on the 20 held-out pictures: that takes at least 381 accepted"
    ) as error:
        threshold_for_precision(np.linspace(0.5, 1, 20), np.ones(20, bool), 0.99)
    assert wilson(381, 381).low >= 0.99 > wilson(380, 380).low
    assert "--target-precision" in str(error.value)


def test_equal_ones_are_accepted_together():
    confidence = np.array([0.9] * 400 + [0.8] * 2)
    right = np.array([True] * 400 + [True, False])
    assert threshold_for_precision(confidence, right, 0.99).value == 0.9
    assert at(0.8, confidence, right).coverage.value == 1


@pytest.mark.parametrize("wanted", [0, 1, -1, 2, float("nan")])
def test_what_is_no_share_is_refused(wanted):
    for choose in (threshold_for_coverage, threshold_for_precision):
        with pytest.raises(UsageError, match=r"such as 0\.95"):
            choose(np.array([0.5]), np.array([True]), wanted)


@pytest.mark.parametrize(("wanted", "number"), [(0.95, 500), (0.9, 2_000)])
def test_a_precision_that_is_not_there_is_hardly_ever_shown(wanted, number):
    """With the true precision just below what is wanted, at every threshold."""
    rng = np.random.default_rng(0)
    granted = 0
    for _ in range(300):
        right = rng.random(number) < wanted - 1e-3
        try:
            threshold_for_precision(rng.random(number), right, wanted)
            granted += 1
        except DataError:
            pass
    assert granted / 300 <= 0.05
