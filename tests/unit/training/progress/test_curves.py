from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from ilk.training.history import Row
from ilk.training.progress.curves import TRAIN, VAL, plot_curves, plot_range


def rows_of(number, val=True, **changes):
    rows = []
    for epoch in range(1, number + 1):
        loss = 0.7 / epoch
        values = {
            "loss": loss,
            "accuracy": 1 - loss,
            "val_loss": loss + 0.1 if val else None,
            "val_accuracy": 0.9 - loss if val else None,
            "val_macro_f1": 0.9 - loss if val else None,
            **changes,
        }
        rows.append(Row(epoch, epoch * 10, epoch, 0.01 / epoch, pictures_per_second=100, **values))
    return rows


def pixels_of(file):
    with Image.open(file) as image:
        assert image.format == "PNG"
        assert 600 < image.width < 1600
        assert 400 < image.height < 1600
        return np.asarray(image.convert("RGB")).astype(np.int16)


def nearly(pixels, colour):
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return np.abs(pixels - wanted).max(axis=2) < 30


def painted(file, colour, right=None):
    """Return the number of pixels that are nearly of a colour."""
    return int(nearly(pixels_of(file), colour)[:, :right].sum())


def marked(file):
    """Return the column with the most ink below the title, and how much that is."""
    ink = (pixels_of(file).max(axis=2)[150:] < 90).sum(axis=0)
    return int(ink.argmax()), int(ink.max())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Twelve epochs, of which the third is the best."""
    file = tmp_path_factory.mktemp("run") / "plots" / "curves.png"
    plot_curves(rows_of(12), file, 3)
    return file


def test_train_and_val_are_drawn(drawn):
    assert painted(drawn, TRAIN) > 2000
    assert painted(drawn, VAL) > 2000


def test_one_epoch_is_drawn_as_points(tmp_path):
    plot_curves(rows_of(1), tmp_path / "curves.png", None)
    for colour in (TRAIN, VAL):
        centre = painted(tmp_path / "curves.png", colour, right=650)  # without the legend
        assert 40 < centre < 400


def test_without_val_only_train_is_drawn_and_nothing_marked(drawn, tmp_path):
    plot_curves(rows_of(12, val=False), tmp_path / "curves.png", None)
    assert painted(tmp_path / "curves.png", TRAIN) > 2000
    assert painted(tmp_path / "curves.png", VAL) == 0
    assert marked(tmp_path / "curves.png")[1] < 100 < marked(drawn)[1]


def test_the_best_epoch_is_marked_where_it_is(drawn, tmp_path):
    plot_curves(rows_of(12), tmp_path / "curves.png", 9)
    assert marked(drawn)[0] + 200 < marked(tmp_path / "curves.png")[0]


def test_a_training_that_went_astray_is_drawn(tmp_path):
    rows = [*rows_of(250), *rows_of(1, loss=1e12, val_loss=math.inf)]
    rows += rows_of(4, loss=math.nan, val_loss=math.nan)
    plot_curves(rows, tmp_path / "curves.png", 250)
    assert painted(tmp_path / "curves.png", TRAIN) > 2000


def test_no_epochs_are_drawn_too(tmp_path):
    plot_curves([], tmp_path / "curves.png", None)
    assert painted(tmp_path / "curves.png", TRAIN) == 0


def test_a_range_test_is_drawn_with_its_suggestion(tmp_path):
    rates = np.geomspace(1e-6, 1, 60)
    losses = np.where(rates < 0.1, 0.7 - 0.5 * rates**0.2, 1e6 * rates)
    losses[-1] = math.inf
    plot_range(rates.tolist(), losses.tolist(), 0.003, tmp_path / "range.png")
    assert painted(tmp_path / "range.png", VAL) > 500
    # The loss before the explosion fills the plot, instead of lying flat at the bottom.
    curve = nearly(pixels_of(tmp_path / "range.png"), TRAIN)
    assert np.ptp(np.flatnonzero(curve[:, :600].any(axis=1))) > 100


@pytest.mark.parametrize("losses", [[0.5, 0.6, 0.7], [math.nan] * 3])
def test_a_range_test_that_found_nothing_is_drawn(losses, tmp_path):
    plot_range([0.01, 0.1, 1.0], losses, None, tmp_path / "range.png")
    assert painted(tmp_path / "range.png", VAL) == 0
