from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ilk.evaluation.confidence import confidence
from ilk.evaluation.corruptions import Corruptions
from ilk.evaluation.intervals import wilson
from ilk.evaluation.plots import (
    MAX_NAMED,
    MAX_NUMBERED,
    draw_calibration,
    draw_confusion,
    draw_corruptions,
    save_figure,
)


@pytest.fixture
def noisy(evaluated):
    """Return an evaluation of a model that is right nine times in ten."""

    def call(names, n=2000):
        rng = np.random.default_rng(0)
        truth = rng.integers(0, len(names), n)
        guess = np.where(rng.random(n) < 0.9, truth, rng.integers(0, len(names), n))
        return evaluated([names[k] for k in truth], guess, names)

    return call


def labels_of(axis):
    return [tick.get_text() for tick in axis.get_ticklabels()]


def test_the_heatmap_shows_shares_of_the_true_class_and_counts(evaluated):
    found = evaluated(["a", "a", "a", "a", "b"], [0, 0, 0, 1, 1], ("a", "b"))
    axes = draw_confusion(found).axes[0]
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0, 1]]
    assert sorted(text.get_text() for text in axes.texts) == ["1", "1", "3"]
    assert labels_of(axes.xaxis) == labels_of(axes.yaxis) == ["a", "b"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert axes.get_title() == "accuracy 80.0 %, n = 5"


def test_classes_without_pictures_leave_their_row_empty(evaluated):
    found = evaluated(["a", "b"], [0, 1], ("a", "b", "c"))
    assert draw_confusion(found).axes[0].images[0].get_array()[2].tolist() == [0, 0, 0]


@pytest.mark.parametrize("number", [2, MAX_NUMBERED + 1, MAX_NAMED + 1])
def test_many_classes_have_no_counts_and_then_fewer_names(noisy, number, tmp_path):
    evaluation = noisy(tuple(f"a long class name {k}" for k in range(number)))
    figure = draw_confusion(evaluation)
    axes = figure.axes[0]
    assert bool(axes.texts) is (number <= MAX_NUMBERED)
    assert (len(labels_of(axes.xaxis)) == number) is (number <= MAX_NAMED)
    file = tmp_path / "plots" / "confusion.png"
    save_figure(figure, file)
    with Image.open(file) as image:
        assert image.format == "PNG"
        assert 300 < image.width < 2500
        assert 300 < image.height < 2500


def test_any_name_can_be_drawn(noisy, tmp_path):
    names = ("$x^2$", "50 %", "a\nb", "<b>&", "_", "x" * 300, r"\frac{", "tab\t", "猫", "$")
    evaluation = noisy(names, 200)
    figure = draw_confusion(evaluation)
    shown = labels_of(figure.axes[0].yaxis)
    assert shown[0] == r"\$x^2\$"  # not a formula
    assert shown[2] == r"a\nb"
    assert len(shown[5]) < 30
    save_figure(figure, tmp_path / "plot.png")  # warnings are errors


def test_the_reliability_diagram_shows_both_temperatures_and_the_risk():
    rng = np.random.default_rng(0)
    p = rng.dirichlet((1, 1, 1), 300)
    found = confidence(p, p.argmax(axis=1), ("a", "b", "c"), temperature=2.0)
    reliability, risk = draw_calibration(found).axes
    names = [text.get_text() for text in reliability.get_legend().get_texts()]
    assert names == [
        f"uncalibrated: ECE {100 * found.before.error.value:.1f} %",
        f"calibrated: ECE {100 * found.after.error.value:.1f} %",
    ]
    x, y = reliability.lines[2].get_data()
    full = found.after.counts > 0
    np.testing.assert_array_equal(x, found.after.confidence[full])
    np.testing.assert_array_equal(y, found.after.accuracy[full])
    np.testing.assert_array_equal(risk.lines[0].get_ydata(), found.risk_coverage.risk)


def test_corruptions_are_sorted_by_the_accuracy_that_is_left():
    rows = {"fog": [wilson(k, 10) for k in (5, 4, 3, 2, 1)], "jpeg": [wilson(9, 10)] * 5}
    axes = draw_corruptions(Corruptions(wilson(10, 10), rows)).axes[0]
    assert labels_of(axes.yaxis) == ["jpeg", "fog"]
    assert axes.images[0].get_array()[1].tolist() == [0.5, 0.4, 0.3, 0.2, 0.1]
    assert [text.get_text() for text in axes.texts][-1] == "10"
