"""Claim: watching a training and keeping its checkpoints takes at most 3 % of a step.

The same training with ilk's monitor and checkpoints at their defaults, and with stand-ins that do
nothing, taking turns. It lasts over a minute, so that a checkpoint falls into it. The curves, drawn
once at the end (half a second), are left out.
"""

from __future__ import annotations

import statistics
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from common import arguments, headline, scratch, spread

import ilk as package
from ilk import recipes
from ilk.data.split import ensure_splits
from ilk.runtime import keep_freed_memory
from ilk.training.checkpoint import Checkpoints
from ilk.training.cpu.precision import pick_precision
from ilk.training.examples import read_examples
from ilk.training.initial_weights import from_scratch, preprocess_for
from ilk.training.interrupt import Interrupt
from ilk.training.loop import Trainer
from ilk.training.plan import Plan
from ilk.training.progress.monitor import Monitor
from ilk.training.step import Step
from ilk.training.train_network import new_state


def main() -> None:
    options = arguments(__doc__ or "", rounds=3, epochs=45)
    headline("What the monitor and the checkpoints cost (digits)")
    catalog = package.open_catalog("digits").digested()
    catalog = ensure_splits(catalog, val_share=0.1, test_share=0.25, seed=0)
    recipe = recipes.load("digits", epochs=options.epochs)
    preprocess = preprocess_for(catalog, recipe)
    examples = read_examples(catalog, preprocess, recipe)
    start = from_scratch(examples, preprocess, recipe)
    keep_freed_memory()
    with_all, bare = [], []
    with scratch() as folder:
        for number in range(options.rounds + 1):
            order = [(True, with_all), (False, bare)]
            for watched, times in order if number % 2 else reversed(order):
                seconds = timed(start, examples, recipe, folder, watched)
                if number:  # the first round warms up
                    times.append(seconds)
    ratios = [a / b for a, b in zip(with_all, bare, strict=True)]
    print("| | seconds |\n|---|---|")
    print(f"| bare loop | {spread(bare, ' s')} |")
    print(f"| with the monitor and checkpoints | {spread(with_all, ' s')} |")
    overhead = 100 * (statistics.median(ratios) - 1)
    print(
        f"\n**Overhead: {overhead:.1f} %** (target: at most 3 %); "
        f"ratio {spread(ratios, digits=3)}\n"
    )


def timed(start, examples, recipe, folder, watched: bool) -> float:
    """Return the seconds of one training, its fresh state made before."""
    precision = pick_precision("auto", "cpu")
    state = new_state(start, examples, recipe, precision)
    step = Step(
        recipe, precision, examples.targets[examples.train], len(examples.classes),
        start.spec.preprocess.imgsz,
    )  # fmt: skip
    checkpoints: Any = Checkpoints(folder / "checkpoints", recipe.checkpoint_minutes)
    monitor: Any = WithoutCurves(folder, examples, recipe, quiet)
    if not watched:
        checkpoints, monitor = Nothing(), Nothing()
    began = time.perf_counter()
    plan = Plan(recipe, examples.catalog, folder, precision)
    Trainer(state, examples, plan, step, checkpoints, monitor, Interrupt(folder)).fit()
    return time.perf_counter() - began


@contextmanager
def quiet(what: str, total: int):
    """A live line that goes nowhere, but is written."""
    yield lambda number, remark="": SimpleNamespace(text=f"{what} {number} of {total} {remark}")


class WithoutCurves(Monitor):
    """Draws nothing at the end."""

    def end(self, state) -> None:
        """Do nothing."""


class Nothing:
    """Takes any call, and does nothing."""

    def __getattr__(self, name: str):
        return lambda *_, **__: False


if __name__ == "__main__":
    main()
