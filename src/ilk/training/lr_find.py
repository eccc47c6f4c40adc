"""Learning-rate range test: raise the rate step by step, and see where the loss falls and explodes.

Smith 2017, "Cyclical learning rates for training neural networks" (arXiv 1506.01186), section 3.3.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from ilk.models.bundle import Bundle
from ilk.recipe import Recipe
from ilk.recipes import RATES
from ilk.runtime import Progress, silent, write_whole
from ilk.training.cpu.precision import Precision
from ilk.training.examples import Examples
from ilk.training.progress.curves import plot_range
from ilk.training.session import deterministic, new_state
from ilk.training.step import Step

STEPS = 60
BELOW, ABOVE = 1e-4, 1e3  # factors of the optimizer's usual rate
SMOOTHING = 0.8
EXPLODED = 3.0  # times the lowest loss
BEFORE = 10  # steps at rates too low to change anything: they show how much the loss scatters


@dataclass(frozen=True)
class RangeTest:
    """What a range test saw.

    Attributes
    ----------
    rates : list of float
        Rising, one a step.
    losses : list of float
        The loss at each; the last may have exploded.
    smoothed : list of float
        Their moving average.
    suggestion : float or None
        A tenth of the rate at which the loss was lowest: as high as is safe. None if no rate
        stands out.
    why_none : str
        What the loss did instead.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float | None
    why_none: str = ""

    def write(self, folder: Path) -> None:
        """Write ``lr_find.csv`` and ``plots/lr_find.png``."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["rate", "loss", "smoothed_loss"])
        writer.writerows(zip(self.rates, self.losses, self.smoothed, strict=True))
        write_whole(folder / "lr_find.csv", table.getvalue().encode())
        (folder / "plots").mkdir(exist_ok=True)
        plot_range(self.rates, self.smoothed, self.suggestion, folder / "plots" / "lr_find.png")


def range_test(
    start: Bundle,
    examples: Examples,
    recipe: Recipe,
    precision: Precision,
    progress: Progress = silent,
) -> RangeTest:
    """Train for at most sixty steps at rising rates, and throw the network away.

    Parameters
    ----------
    start : Bundle
        The weights to begin with.
    examples : Examples
    recipe : Recipe
    precision : Precision
    progress : Progress
    """
    state = new_state(start, examples, recipe, precision)
    targets = examples.targets[examples.train]
    imgsz = start.spec.preprocess.imgsz
    step = Step(recipe, precision, targets, len(examples.classes), imgsz)
    usual = recipe.lr or RATES[recipe.optimizer]
    lowest = BELOW * RATES[recipe.optimizer]
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    with deterministic(), progress("trying rates", STEPS) as tick:
        while len(rates) < STEPS:
            step.begin_epoch(state)
            lots = examples.lots(recipe, state.epoch)[: STEPS - len(rates)]
            for pixels, rows in examples.source.batches(lots):
                rate = lowest * (ABOVE / BELOW) ** (len(rates) / (STEPS - 1))
                loss, _ = step(state, pixels, rows, examples.targets[rows], rate / usual)
                if not math.isfinite(loss):
                    return _judged(rates, losses, smoothed, exploded=True)
                rates.append(rate)
                losses.append(loss)
                smoothed.append(_average(losses))
                if smoothed[-1] > EXPLODED * min(smoothed):
                    return _judged(rates, losses, smoothed, exploded=True)
                state.step += 1
                tick(1, f"rate {rate:.2g}, loss {loss:.3f}")
            state.epoch, state.step = state.epoch + 1, 0
    return _judged(rates, losses, smoothed)


def _average(losses: list[float]) -> float:
    """Return the moving average at the end; it begins without a bias towards 0."""
    weights = [SMOOTHING**age for age in reversed(range(len(losses)))]
    return sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)


def _judged(
    rates: list[float], losses: list[float], smoothed: list[float], *, exploded: bool = False
) -> RangeTest:
    """Suggest a tenth of the rate with the lowest loss, if the loss fell to it and rose again."""
    if len(losses) <= BEFORE:
        return RangeTest(
            rates,
            losses,
            smoothed,
            None,
            "The loss exploded at once: look at the pictures and labels.",
        )
    lowest = min(range(len(smoothed)), key=smoothed.__getitem__)
    # The moving average scatters a third as much as the loss: its differences are no chance.
    scatter = statistics.stdev(losses[:BEFORE])
    fell = smoothed[BEFORE - 1] - smoothed[lowest] > scatter
    rose = exploded or smoothed[-1] - smoothed[lowest] > scatter
    if not fell:
        why = "The loss fell at no rate by more than it scatters. Either there is little left to "
        why += "learn: keep the recipe's rate; or the labels do not belong to the pictures."
    elif not rose:
        why = "The loss never rose again: these few pictures are learnt by heart at any rate. "
        why += "Keep the recipe's rate."
    else:
        return RangeTest(rates, losses, smoothed, float(f"{rates[lowest] / 10:.1e}"))
    return RangeTest(rates, losses, smoothed, None, why)
