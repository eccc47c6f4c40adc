"""Budget: how many steps can be afforded in a given time."""

from __future__ import annotations

import logging
import statistics
import time

from ilk.recipe import Recipe
from ilk.training.distributed import ALONE, World
from ilk.training.examples import Examples
from ilk.training.scoring import logits_of
from ilk.training.state import State
from ilk.training.step import Step

log = logging.getLogger("ilk")
TRIALS = 4
LATE = 1000
SLACK = 0.95  # of the budget: checkpoints and curves take time too


def affordable_steps(
    trial: State, examples: Examples, recipe: Recipe, step: Step, world: World = ALONE
) -> int:
    """Take a few steps, which are thrown away, and see how many fit the budget.

    Parameters
    ----------
    trial : State
        A fresh one, of no further use.
    examples : Examples
    recipe : Recipe
        With a budget.
    step : Step
        Of no further use either.
    world : World
    """
    assert recipe.budget_seconds is not None
    lots = examples.lots(recipe, epoch=0)
    # Late, when all that will be thawed is, and a step takes longest.
    trial.epoch, trial.total_steps = LATE, (LATE + 1) * trial.steps_per_epoch
    step.begin_epoch(trial)
    seconds = []
    some = [world.part(lots[i % len(lots)]) for i in range(TRIALS)]
    last = time.perf_counter()
    for pixels, rows in examples.source.batches(some):
        step(trial, pixels, rows, examples.targets[rows], 1.0)
        trial.step += 1
        seconds.append(time.perf_counter() - last)
        last = time.perf_counter()
    each = statistics.median(seconds[1:])
    epoch = each * trial.steps_per_epoch + _validation_seconds(trial, examples, recipe, step)
    steps = int(SLACK * recipe.budget_seconds / epoch * trial.steps_per_epoch)
    steps = world.share(max(1, steps))
    log.info(
        "A step takes %.2f s, an epoch %.1f s with its val score: training for %.1f epochs in %s",
        each,
        epoch,
        steps / trial.steps_per_epoch,
        recipe.budget,
    )
    return steps


def _validation_seconds(trial: State, examples: Examples, recipe: Recipe, step: Step) -> float:
    """Return how long it takes to score all pictures to choose by, judged by a few of them."""
    some = examples.val[: 2 * recipe.batch]
    if not len(some):
        return 0.0
    began = time.perf_counter()
    logits_of(
        trial.model,
        examples.source,
        some,
        classes=len(examples.classes),
        precision=step.precision,
        batch=recipe.batch,
    )
    return (time.perf_counter() - began) * len(examples.val) / len(some)
