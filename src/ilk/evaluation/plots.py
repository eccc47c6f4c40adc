"""Plots: PNG files, drawn without a screen."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from ilk.errors import shown
from ilk.evaluation.metrics import Evaluation

# Above this the numbers in the cells, above the next the names on the axes, would not be readable.
MAX_NUMBERED = 20
MAX_NAMED = 110
LONGEST_NAME = 24


def confusion_heatmap(evaluation: Evaluation, path: Path) -> None:
    """Draw the confusion matrix: colour is the share of the true class, numbers are counts.

    Readable at 2 classes and at 100: cells grow small, numbers go, then every n-th name stays.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    counts = evaluation.confusion
    number = len(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(1.6 + 0.42 * number, 3.2, 15))
    figure = Figure(figsize=(side + 1.6, side + 0.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    # The root of the share: mistakes of a few percent are what one looks for.
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
                colour = "white" if dark else "#1b1f24"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=font)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"accuracy {100 * evaluation.accuracy.value:.1f} %, n = {evaluation.n:,}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Its own font lacks many scripts, and draws a box; the report tells the names in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path)


def _short(name: str) -> str:
    """Return a name that fits an axis, without what matplotlib would read as mathematics."""
    text = shown(name)
    text = text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"
    return text.replace("$", r"\$")
