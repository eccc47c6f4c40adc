"""Learning-rate range test: raise the learning rate step by step, and watch the loss.

Smith 2017, "Cyclical learning rates for training neural networks" (arXiv 1506.01186), section 3.3.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from ilk.data.limits import pixel_limit
from ilk.errors import UsageError
from ilk.folder import new_folder, readable_errors, write_csv
from ilk.library_warnings import quiet_libraries
from ilk.models.bundle import Bundle
from ilk.progress import ProgressOption, progress_of
from ilk.recipe import Recipe
from ilk.recipes import DEFAULT_LRS
from ilk.training.distributed import launched_by_torchrun
from ilk.training.examples import Examples
from ilk.training.modes import initial_state
from ilk.training.plan import Plan, prepare
from ilk.training.prepare_data import prepare_data
from ilk.training.progress.curves import plot_range
from ilk.training.train import recipe_of
from ilk.training.train_network import deterministic, new_state, new_step

STEPS = 60
BELOW, ABOVE = 1e-4, 1e3  # factors of the optimizer's default learning rate
SMOOTHING = 0.8
EXPLODED = 3.0  # ratio to the lowest loss
BEFORE = 10  # steps at rates too low to change anything: they show the noise of the loss


@dataclass(frozen=True)
class RangeTest:
    """The result of a range test.

    Attributes
    ----------
    rates : list of float
        Rising learning rates, one a step.
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
        rows = zip(self.rates, self.losses, self.smoothed, strict=True)
        write_csv(folder / "lr_find.csv", ["lr", "loss", "smoothed_loss"], rows, end="\n")
        (folder / "plots").mkdir(exist_ok=True)
        plot_range(self.rates, self.smoothed, self.suggestion, folder / "plots" / "lr_find.png")


@quiet_libraries()
def find_rate(
    data: Any,
    recipe: Recipe | str | Path | None = None,
    *,
    name: str | None = None,
    runs: str | PathLike[str] = "runs",
    exist_ok: bool = False,
    progress: ProgressOption = None,
    **changes: Any,
) -> tuple[RangeTest, Path]:
    """Look for a good learning rate by the range test (Smith 2017), without training.

    It writes ``lr_find.csv`` and ``plots/lr_find.png`` to a folder ``lr-find``, ``lr-find-2``, … of
    ``runs``.

    Parameters
    ----------
    data, recipe, name, runs, exist_ok, progress, **changes
        As for `train`.

    Returns
    -------
    RangeTest
        The learning rates, the smoothed losses, and the suggested rate.
    Path
        The folder.

    Raises
    ------
    UsageError
        The mode has no learning rate.
    """
    chosen = recipe_of(data, recipe, changes)
    if not chosen.uses_loop:
        raise UsageError(
            f"--lr-find does not apply to --mode {chosen.mode}, which has no learning rate; add "
            "--mode finetune, scratch or guide."
        )
    if launched_by_torchrun():
        raise UsageError("--lr-find runs in a single process; start it without torchrun.")
    with (
        pixel_limit(chosen.max_pixels),
        new_folder(Path(runs), name, exist_ok, default="lr-find") as folder,
    ):
        shown = progress_of(progress)
        catalog = prepare_data(data, chosen, changes, shown)
        plan = prepare(chosen, catalog, folder, changes, progress=shown)
        start = initial_state(plan)
        result = range_test(start.bundle, start.examples, plan)
        with readable_errors(folder):
            result.write(folder)
        return result, folder


def range_test(start: Bundle, examples: Examples, plan: Plan) -> RangeTest:
    """Train for at most sixty steps at rising learning rates; the network is thrown away.

    Parameters
    ----------
    start : Bundle
        The initial weights.
    """
    recipe = plan.recipe
    state = new_state(start, examples, recipe, plan.precision)
    step = new_step(start, examples, plan)
    peak = recipe.lr or DEFAULT_LRS[recipe.optimizer]
    lowest = BELOW * DEFAULT_LRS[recipe.optimizer]
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    with deterministic(), plan.progress("trying learning rates", STEPS) as tick:
        while len(rates) < STEPS:
            step.begin_epoch(state)
            batches = examples.epoch_batches(recipe, state.epoch)[: STEPS - len(rates)]
            for batch in examples.load(batches):
                lr = lowest * (ABOVE / BELOW) ** (len(rates) / (STEPS - 1))
                loss = step(state, batch, lr / peak).mean_loss
                if not math.isfinite(loss):
                    return _judged(rates, losses, smoothed, exploded=True)
                rates.append(lr)
                losses.append(loss)
                smoothed.append(_moving_average(losses))
                if smoothed[-1] > EXPLODED * min(smoothed):
                    return _judged(rates, losses, smoothed, exploded=True)
                state.step += 1
                tick(1, f"lr {lr:.2g}, loss {loss:.3f}")
            state.epoch, state.step = state.epoch + 1, 0
    return _judged(rates, losses, smoothed)


def _moving_average(losses: list[float]) -> float:
    """Return the exponential moving average at the end, without bias towards 0 at the start."""
    weights = [SMOOTHING**age for age in reversed(range(len(losses)))]
    return sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)


def _judged(
    rates: list[float], losses: list[float], smoothed: list[float], *, exploded: bool = False
) -> RangeTest:
    """Suggest a tenth of the rate with the lowest loss, if the loss fell to it and rose again."""
    if len(losses) <= BEFORE:
        why = "The loss exploded at once: check the pictures and labels."
        return RangeTest(rates, losses, smoothed, None, why)
    lowest = min(range(len(smoothed)), key=smoothed.__getitem__)
    # The moving average has a third of the loss's noise: such differences are not chance.
    noise = statistics.stdev(losses[:BEFORE])
    fell = smoothed[BEFORE - 1] - smoothed[lowest] > noise
    rose = exploded or smoothed[-1] - smoothed[lowest] > noise
    if not fell:
        why = "At no learning rate did the loss fall by more than its noise. Either there is "
        why += "little left to learn (keep the recipe's rate), or the labels do not match the "
        why += "pictures."
    elif not rose:
        why = "The loss never rose again: these few pictures can be memorised at any rate. "
        why += "Keep the recipe's rate."
    else:
        return RangeTest(rates, losses, smoothed, float(f"{rates[lowest] / 10:.1e}"))
    return RangeTest(rates, losses, smoothed, None, why)
