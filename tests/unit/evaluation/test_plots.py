from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ilk.evaluation.plots import confusion_heatmap
from ilk.evaluation.result import score


def evaluation_of(names, n=2000):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, len(names), n)
    guess = np.where(rng.random(n) < 0.9, truth, rng.integers(0, len(names), n))
    return score([names[k] for k in truth], guess, names)


@pytest.mark.parametrize("number", [2, 21, 100])
def test_a_plot_is_written_for_few_and_many_classes(number, tmp_path):
    names = tuple(f"a long class name {k}" for k in range(number))
    file = tmp_path / "plots" / "confusion.png"
    confusion_heatmap(evaluation_of(names), file)
    with Image.open(file) as image:
        assert image.format == "PNG"
        assert 300 < image.width < 2500
        assert 300 < image.height < 2500
        assert len(set(image.convert("L").resize((64, 64)).tobytes())) > 10


def test_any_name_can_be_drawn(tmp_path):
    strange = (
        "$x^2$ costs $5",
        "50 %",
        "a\nb",
        "<b>&",
        "_",
        "x" * 300,
        r"\frac{",
        "tab\t",
        "猫",
        "$",
    )
    confusion_heatmap(evaluation_of(strange, 200), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_missing_classes_leave_their_row_empty(tmp_path):
    found = score(["a", "b"], np.array([0, 1]), ("a", "b", "c"))
    confusion_heatmap(found, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").is_file()
