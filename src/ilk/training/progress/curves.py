"""Curves: loss, accuracy and learning rate of a training, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.evaluation.plots import save_figure
from ilk.evaluation.style import BLUE, DASHES, INK, LINE, ORANGE, SOFT
from ilk.text import pluralize
from ilk.training.history import Row

TRAIN, VAL = BLUE, ORANGE
MOST_MARKED = 40  # epochs; above, markers would hide the line
WIDE_RANGE = 50  # ratio of the largest to the smallest loss that calls for a log scale


def plot_curves(rows: Sequence[Row], path: Path, best_epoch: int | None) -> None:
    """Draw loss, accuracy and learning rate over the epochs.

    Parameters
    ----------
    path : Path
        The PNG.
    best_epoch : int or None
        It is marked.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure = Figure(figsize=(8, 7.6), dpi=120, layout="constrained")
    loss, accuracy, lr = figure.subplots(3, sharex=True, height_ratios=(5, 5, 1.8))
    epochs = [row.epoch for row in rows]
    _curve(loss, epochs, [row.loss for row in rows], TRAIN, "train, as augmented")
    _curve(loss, epochs, [row.val_loss for row in rows], VAL, "val")
    _log_if_wide(loss)
    _curve(accuracy, epochs, [row.accuracy for row in rows], TRAIN, "train, as augmented")
    _curve(accuracy, epochs, [row.val_accuracy for row in rows], VAL, "val")
    accuracy.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))
    _curve(lr, epochs, [row.lr for row in rows], SOFT, "")
    peak = max((row.lr for row in rows), default=0) or 1
    lr.set_ylim(0, 1.1 * peak)
    lr.set_yticks((0, peak), ("0", f"{peak:.2g}"))
    lr.set_xlabel("epoch", color=INK)
    lr.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes, name in ((loss, "loss"), (accuracy, "accuracy"), (lr, "learning\nrate")):
        _dress(axes, name)
        _mark(axes, best_epoch, "best" if axes is loss else "")
    if epochs:
        lr.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        loss.legend(frameon=False, loc="best", labelcolor=INK)
    loss.set_title(_headline(rows, best_epoch), loc="left", color=INK, fontsize=11, pad=20)
    figure.align_ylabels()
    save_figure(figure, path)


def plot_range(
    rates: Sequence[float], losses: Sequence[float], suggestion: float | None, path: Path
) -> None:
    """Draw a learning-rate range test: the loss over the learning rate, and the suggestion.

    Parameters
    ----------
    rates : sequence of float
        Rising.
    losses : sequence of float
        As long as ``rates``; the end, where the loss explodes, may leave the plot.
    suggestion : float or None
        It is marked.
    path : Path
        The PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    values = _finite(losses)
    axes.plot(rates, values, color=TRAIN, linewidth=2)
    axes.set_xscale("log")
    _keep_explosion_out(axes, values)
    _dress(axes, "loss")
    axes.set_xlabel("learning rate", color=INK)
    title = "Learning-rate range test"
    if suggestion is not None:
        title += f": suggestion {suggestion:.2g}"
        axes.axvline(suggestion, color=VAL, linewidth=2, linestyle=DASHES)
        nearest = int(np.argmin(np.abs(np.log(np.asarray(rates) / suggestion))))
        axes.plot(suggestion, values[nearest], "o", color=VAL, markersize=9, clip_on=False)
    axes.set_title(title, loc="left", color=INK, fontsize=11, pad=10)
    save_figure(figure, path)


def _curve(
    axes: Any, epochs: Sequence[int], values: Sequence[float | None], colour: str, label: str
) -> None:
    """Draw the values that there are: val may be missing in some epochs, or in all."""
    points = [
        (epoch, value) for epoch, value in zip(epochs, values, strict=True) if value is not None
    ]
    if points:
        x, y = zip(*points, strict=True)
        marker = "o" if len(points) <= MOST_MARKED else None
        axes.plot(
            x, _finite(y), color=colour, linewidth=2, marker=marker, markersize=4.5, label=label
        )


def _mark(axes: Any, epoch: int | None, word: str) -> None:
    if epoch is not None:
        axes.axvline(epoch, color=INK, linewidth=1, linestyle=DASHES, zorder=1)
        at = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points"}
        axes.annotate(word, (epoch, 1), (0, 2), **at, ha="center", color=SOFT, fontsize=9)


def _finite(values: Sequence[float]) -> NDArray[np.float64]:
    """Leave a gap where a value is infinite: it would stretch the axis."""
    array = np.asarray(values, np.float64)
    return np.where(np.isfinite(array), array, np.nan)


def _log_if_wide(axes: Any) -> None:
    drawn = [np.asarray(line.get_ydata()) for line in axes.get_lines()]
    values = np.concatenate([*drawn, []])
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > WIDE_RANGE * values.min():
        axes.set_yscale("log")


def _keep_explosion_out(axes: Any, values: NDArray[np.float64]) -> None:
    """End the y axis a little above the losses before the lowest one."""
    if np.isnan(values).all():
        return
    lowest = int(np.nanargmin(values))
    low, high = values[lowest], np.nanmax(values[: lowest + 1])
    if high > low:
        axes.set_ylim(low - 0.08 * (high - low), high + 0.25 * (high - low))


def _dress(axes: Any, name: str) -> None:
    axes.set_ylabel(name, color=INK)
    axes.grid(axis="y", color=LINE)
    axes.set_axisbelow(True)
    axes.tick_params(color=LINE, labelcolor=SOFT, which="both")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)


def _headline(rows: Sequence[Row], best_epoch: int | None) -> str:
    parts = [pluralize(len(rows), "epoch")]
    best = next((row for row in rows if row.epoch == best_epoch), None)
    if best is not None:
        accuracy, kind = best.val_accuracy, "val accuracy"
        if accuracy is None:
            accuracy, kind = best.accuracy, "accuracy"
        parts.append(f"best: epoch {best.epoch}, {kind} {100 * accuracy:.1f} %")
    return "   ·   ".join(parts)
