"""Learning-rate range test: raise the rate step by step, and see where the loss falls and explodes.

Smith 2017, "Cyclical learning rates for training neural networks" (arXiv 1506.01186), section 3.3.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

from ilk.models.bundle import Bundle
from ilk.recipe import Recipe
from ilk.recipes import RATES
from ilk.runtime import write_whole
from ilk.training.curves import plot_range
from ilk.training.examples import Examples
from ilk.training.precision import Precision
from ilk.training.session import deterministic, new_state
from ilk.training.step import Step

STEPS = 60
BELOW, ABOVE = 1e-4, 1e3  # factors of the optimizer's usual rate
SMOOTHING = 0.8
EXPLODED = 3.0  # times the lowest loss


@dataclass(frozen=True)
class RangeTest:
    """What a range test saw.

    Attributes
    ----------
    rates : list of float
        Rising, one a step.
    losses : list of float
        The smoothed loss at each.
    suggestion : float or None
        A tenth of the rate at which the loss was lowest: as high as is safe. None if the loss
        never fell.
    """

    rates: list[float]
    losses: list[float]
    suggestion: float | None

    def write(self, folder: Path) -> None:
        """Write ``lr_find.csv`` and ``plots/lr_find.png``."""
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(["rate", "loss"])
        writer.writerows(zip(self.rates, self.losses, strict=True))
        write_whole(folder / "lr_find.csv", table.getvalue().encode())
        (folder / "plots").mkdir(exist_ok=True)
        plot_range(self.rates, self.losses, self.suggestion, folder / "plots" / "lr_find.png")


def range_test(
    start: Bundle, examples: Examples, recipe: Recipe, precision: Precision
) -> RangeTest:
    """Train for at most sixty steps at rising rates, and throw the network away.

    Parameters
    ----------
    start : Bundle
        The weights to begin with.
    examples : Examples
    recipe : Recipe
    precision : Precision
    """
    state = new_state(start, examples, recipe, precision)
    targets = examples.targets[examples.train]
    imgsz = start.spec.preprocess.imgsz
    step = Step(recipe, precision, targets, len(examples.classes), imgsz)
    usual = recipe.lr or RATES[recipe.optimizer]
    middle = RATES[recipe.optimizer]
    rates: list[float] = []
    losses: list[float] = []
    smoothed = 0.0
    with deterministic():
        while len(rates) < STEPS:
            step.begin_epoch(state)
            lots = examples.lots(recipe, state.epoch)[: STEPS - len(rates)]
            for pixels, rows in examples.source.batches(lots):
                rate = middle * BELOW * (ABOVE / BELOW) ** (len(rates) / (STEPS - 1))
                loss, _ = step(state, pixels, rows, examples.targets[rows], rate / usual)
                smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * loss
                now = smoothed / (1 - SMOOTHING ** (len(rates) + 1))
                if not math.isfinite(now) or (losses and now > EXPLODED * min(losses)):
                    return RangeTest(rates, losses, suggested(rates, losses))
                rates.append(rate)
                losses.append(now)
                state.step += 1
            state.epoch, state.step = state.epoch + 1, 0
    return RangeTest(rates, losses, suggested(rates, losses))


def suggested(rates: list[float], losses: list[float]) -> float | None:
    """Return a tenth of the rate with the lowest loss, to two digits; None if it never fell."""
    if not losses:
        return None
    lowest = min(range(len(losses)), key=losses.__getitem__)
    return float(f"{rates[lowest] / 10:.1e}") if lowest > 0 else None
