"""Claim: 95 % intervals hold where pictures are copies of each other, or of one group.

Correct and wrong answers are simulated; how often does the interval contain the true accuracy?
Copies are answered alike. Pictures of a group agree by an intraclass correlation (beta-binomial).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product

import numpy as np
from common import headline
from numpy.random import Generator

from ilk.arrays import Indices, Mask
from ilk.evaluation.intervals import share
from ilk.evaluation.units import Units

ACCURACIES = (0.7, 0.9, 0.97)
SIZES: dict[str, Callable[[Generator, int], Indices]] = {
    "none": lambda _, n: np.ones(n, np.int64),
    "one in ten copied once to four times": lambda r, n: np.where(
        r.random(n) < 0.1, r.integers(2, 6, n), 1
    ),
    "8 of each": lambda _, n: np.full(n, 8),
    "1 to 30 of each": lambda r, n: r.integers(1, 31, n),
}


def answers(draw: Generator, sizes: Indices, accuracy: float, correlation: float) -> Mask:
    """Return which pictures of groups of such sizes are answered correctly."""
    if correlation == 1:
        return np.repeat(draw.random(len(sizes)) < accuracy, sizes)
    shape = (1 - correlation) / correlation
    rate = draw.beta(accuracy * shape, (1 - accuracy) * shape, len(sizes))
    correct: Mask = draw.random(sizes.sum()) < np.repeat(rate, sizes)
    return correct


def covered(kind: str, groups: int, accuracy: float, correlation: float, number: int) -> list[int]:
    """Count the intervals that contain the accuracy: counting units, and counting pictures."""
    draw = np.random.default_rng([groups, int(100 * accuracy), int(100 * correlation)])
    hits = [0, 0]
    for _ in range(number):
        sizes = SIZES[kind](draw, groups)
        group = np.repeat(np.arange(groups), sizes)
        copies = correlation == 1
        units = Units(group, group if copies else np.arange(len(group)), not copies)
        flags = answers(draw, sizes, accuracy, correlation)
        for i, found in enumerate((share(flags, units), share(flags))):
            hits[i] += found.low <= accuracy <= found.high
    return hits


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=2000, help="simulations of each accuracy")
    options = parser.parse_args()
    headline("Intervals where pictures are not independent")
    print(f"The range over accuracies of {', '.join(f'{a:g}' for a in ACCURACIES)}.\n")
    print("| pictures | units | coverage, counting units | counting pictures |\n|---|---|---|---|")
    for correlation, kind, groups in product((1.0, 0.5, 0.1), SIZES, (60, 300)):
        if kind == "none" and correlation < 1:
            continue
        found = [covered(kind, groups, a, correlation, options.number) for a in ACCURACIES]
        by_units, by_pictures = 100 * np.array(found).T / options.number
        what = "copies" if correlation == 1 else f"groups, correlation {correlation:g}"
        print(
            f"| {what}: {kind} | {groups} | {by_units.min():.1f} to {by_units.max():.1f} % "
            f"| {by_pictures.min():.1f} to {by_pictures.max():.1f} % |",
            flush=True,
        )


if __name__ == "__main__":
    main()
