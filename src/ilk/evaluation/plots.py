"""Plots: figures of an evaluation, as PNG files."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ilk.evaluation.confidence import Confidence
from ilk.evaluation.corruptions import Corruptions
from ilk.evaluation.result import Evaluation
from ilk.evaluation.style import BLUE, DASHES, INK, LINE, ORANGE, SOFT
from ilk.runtime import write_whole
from ilk.text import escaped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_NUMBERED = 20  # classes, above which the counts in the cells would be illegible
MAX_NAMED = 110  # names on an axis, above which they would be
LONGEST_NAME = 24
BEFORE, AFTER = ORANGE, BLUE


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG, completely or not at all."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # matplotlib's font lacks many scripts and draws boxes; the report has the names in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, buffer.getvalue())


def draw_confusion(evaluation: Evaluation) -> Figure:
    """Draw the confusion matrix: colour is the share of the true class, numbers are counts.

    With many classes the numbers are dropped, then all but every n-th name.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    counts = evaluation.confusion
    number = len(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(1.6 + 0.42 * number, 3.2, 15))
    figure = Figure(figsize=(side + 1.6, side + 0.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    # The square root makes confusions of a few percent visible.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    ticks = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 1)
    bar = figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8, ticks=ticks)
    bar.ax.set_yticklabels([f"{100 * tick:g} %" for tick in ticks])

    step = int(np.ceil(number / MAX_NAMED))
    places = np.arange(0, number, step)
    names = [_short(evaluation.classes[i]) for i in places]
    font = 9 if number <= MAX_NUMBERED else 6
    axes.set_xticks(places, names, rotation=45 if number <= MAX_NUMBERED else 90, fontsize=font)
    axes.set_yticks(places, names, fontsize=font)
    if number <= MAX_NUMBERED:
        for tick in axes.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")
        for row, column in np.ndindex(counts.shape):
            if counts[row, column]:
                dark = shares[row, column] > 0.3
                text = f"{counts[row, column]:,}"
                colour = "white" if dark else INK
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=font)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"accuracy {100 * evaluation.accuracy.value:.1f} %, n = {evaluation.n:,}")
    return figure


def draw_calibration(confidence: Confidence) -> Figure:
    """Draw the reliability diagram and the risk-coverage curve."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(9.2, 4.4), dpi=120, layout="constrained")
    reliable, risk = figure.subplots(1, 2)
    reliable.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=DASHES)
    for found, colour, name in (
        (confidence.before, BEFORE, "uncalibrated"),
        (confidence.after, AFTER, "calibrated"),
    ):
        full = found.counts > 0
        size = 12 + 180 * np.sqrt(found.counts[full] / max(1, found.counts.sum()))
        error = f"ECE {100 * found.error.value:.1f} %"
        x, y = found.confidence[full], found.accuracy[full]
        reliable.plot(x, y, color=colour, linewidth=1.2)
        reliable.scatter(
            x, y, size, color=colour, alpha=0.75, linewidth=0, label=f"{name}: {error}"
        )
    reliable.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
    reliable.set_title("Reliability diagram", loc="left", fontsize=11)
    reliable.legend(frameon=False, loc="upper left", fontsize=9)
    curve = confidence.risk_coverage
    risk.plot(curve.coverage, curve.risk, color=AFTER)
    risk.set(xlim=(0, 1), xlabel="coverage (most confident predictions first)", ylabel="error rate")
    risk.set_ylim(0, max(0.01, 1.15 * float(curve.risk.max())))
    risk.set_title("Risk-coverage curve", loc="left", fontsize=11)
    for axes in (reliable, risk):
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_corruptions(found: Corruptions) -> Figure:
    """Draw the accuracy under each corruption by severity."""
    from matplotlib.figure import Figure

    values = {name: [m.value for m in row] for name, row in found.by_corruption.items()}
    names = sorted(values, key=lambda name: -np.mean(values[name]))
    table = np.array([values[name] for name in names])
    figure = Figure(figsize=(7, 6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_xticks(range(table.shape[1]), [str(k + 1) for k in range(table.shape[1])])
    axes.set_xlabel("severity")
    for row, column in np.ndindex(table.shape):
        colour = "white" if table[row, column] > 0.6 else INK
        text = f"{100 * table[row, column]:.0f}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    figure.colorbar(image, ax=axes, label="accuracy", shrink=0.8)
    axes.set_title(
        f"accuracy in %, mean {100 * found.mean:.1f}; clean {100 * found.clean.value:.1f}, "
        f"n = {found.clean.n:,}",
        loc="left",
        fontsize=10,
    )
    return figure


def _short(name: str) -> str:
    """Return a name that fits an axis, with dollar signs escaped: they would start a formula."""
    text = escaped(name)
    text = text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"
    return text.replace("$", r"\$")
