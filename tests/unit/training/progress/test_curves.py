"""The curves are written as pictures, whatever the training did; the scales suit the values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ilk.training.history import Row
from ilk.training.progress.curves import plot_curves, plot_range


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


@pytest.fixture
def figure(monkeypatch):
    """Return ``figure(draw, *arguments)``: what a function draws, as matplotlib's Figure."""

    def drawn(draw, *arguments):
        figures = []
        save = Figure.savefig

        def keep(own, *given, **options):
            figures.append(own)
            return save(own, *given, **options)

        monkeypatch.setattr(Figure, "savefig", keep)
        draw(*arguments)
        [found] = figures
        return found

    return drawn


def series(axes):
    """Return the labelled lines of a plot, as points by label."""
    return {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}


def test_loss_accuracy_and_learning_rate_are_drawn_over_the_epochs(figure, tmp_path):
    rows = rows_of(12)
    file = tmp_path / "plots" / "curves.png"
    loss, accuracy, lr = figure(plot_curves, rows, file, 3).axes
    assert series(loss)["train, as augmented"] == [[r.epoch, r.loss] for r in rows]
    assert series(loss)["val"] == [[r.epoch, r.val_loss] for r in rows]
    assert series(accuracy)["val"] == [[r.epoch, r.val_accuracy] for r in rows]
    assert [[r.epoch, r.lr] for r in rows] in series(lr).values()
    assert loss.get_title(loc="left") == "12 epochs   ·   best: epoch 3, val accuracy 66.7 %"
    with Image.open(file) as image:
        assert image.format == "PNG"


def test_the_best_epoch_is_marked(figure, tmp_path):
    for axes in figure(plot_curves, rows_of(12), tmp_path / "curves.png", 9).axes:
        assert [[9, 0], [9, 1]] in series(axes).values()


def test_without_validation_only_train_is_drawn_and_nothing_marked(figure, tmp_path):
    loss, *_ = figure(plot_curves, rows_of(12, val=False), tmp_path / "curves.png", None).axes
    assert set(series(loss)) == {"train, as augmented"}


def test_a_training_that_diverged_is_drawn_on_a_log_scale(figure, tmp_path):
    rows = [*rows_of(250), *rows_of(1, loss=1e12, val_loss=math.inf)]
    rows += rows_of(4, loss=math.nan, val_loss=math.nan)
    loss, *_ = figure(plot_curves, rows, tmp_path / "curves.png", 250).axes
    assert loss.get_yscale() == "log"
    assert np.isfinite(loss.get_ylim()).all()


@pytest.mark.parametrize("number", [0, 1])
def test_few_epochs_are_drawn_too(tmp_path, number):
    plot_curves(rows_of(number), tmp_path / "curves.png", None)
    assert (tmp_path / "curves.png").is_file()


def test_a_range_test_is_drawn_with_its_suggestion_and_without_the_explosion(figure, tmp_path):
    rates = np.geomspace(1e-6, 1, 60)
    losses = np.where(rates < 0.1, 0.7 - 0.5 * rates**0.2, 1e6 * rates)
    losses[-1] = math.inf
    [axes] = figure(plot_range, rates.tolist(), losses.tolist(), 0.003, tmp_path / "r.png").axes
    assert "0.003" in axes.get_title(loc="left")
    assert any(line.get_xdata()[0] == 0.003 for line in axes.get_lines())
    assert axes.get_ylim()[1] < 2


@pytest.mark.parametrize("losses", [[0.5, 0.6, 0.7], [math.nan] * 3])
def test_a_range_test_without_a_suggestion_is_drawn(figure, losses, tmp_path):
    [axes] = figure(plot_range, [0.01, 0.1, 1.0], losses, None, tmp_path / "range.png").axes
    assert len(axes.get_lines()) == 1
