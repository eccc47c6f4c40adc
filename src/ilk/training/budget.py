"""Budget: how many steps can be afforded in a given time."""

from __future__ import annotations

import logging
import statistics
import time

from ilk.recipe import Recipe
from ilk.training.distributed import ALONE, World
from ilk.training.examples import Examples
from ilk.training.optim.schedule import image_size
from ilk.training.scoring import outputs_of
from ilk.training.state import State
from ilk.training.step import Step

log = logging.getLogger("ilk")
TRIALS = 4
MOMENTS = 6  # of a schedule, at which a step is timed
ROUNDS = 2
RATE = 1e-3  # factor of the peak rate in a trial: so many steps at the peak could burst the weights
LATE = 1000  # epochs
SLACK = 0.95  # of the budget: checkpoints and curves take time too


def affordable_steps(
    trial: State, examples: Examples, recipe: Recipe, step: Step, world: World = ALONE
) -> int:
    """Take a few steps, which are thrown away, and see how many fit the budget.

    Pictures may grow and parts may thaw as a training goes on, so that its steps take longer and
    longer; the mean step of a schedule is judged by some of its moments. How much will be thawed
    depends on the number of steps, which is yet to be found. A first schedule fits if every step
    is as slow as the last; it is too short. A second, by the mean step of the first, is too long,
    as more is thawed in it. A third, by that of the second, is rather too short again, but by less.

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
    seconds = SLACK * recipe.budget_seconds
    timer = StepTimer(trial, examples, recipe, step, world)
    late = LATE * trial.steps_per_epoch
    each = timer(late, late + 1)
    scoring = world.share(_validation_seconds(trial, examples, recipe, step))
    scoring /= trial.steps_per_epoch
    for _ in range(ROUNDS):
        steps = max(1, int(seconds / (each + scoring)))
        moments = [int((i + 0.5) / MOMENTS * steps) for i in range(MOMENTS)]
        each = statistics.fmean(timer(moment, steps) for moment in moments)
    steps = max(1, int(seconds / (each + scoring)))
    log.info(
        "A step takes %.2f s, an epoch %.1f s with its val score: training for %.1f epochs in %s",
        each,
        (each + scoring) * trial.steps_per_epoch,
        steps / trial.steps_per_epoch,
        recipe.budget,
    )
    return steps


class StepTimer:
    """Says how long a step takes at a moment of a schedule; see `affordable_steps`.

    Moments with pictures of the same size and the same parts thawed are timed once.
    """

    def __init__(
        self, trial: State, examples: Examples, recipe: Recipe, step: Step, world: World
    ) -> None:
        self._trial = trial
        self._examples = examples
        self._recipe = recipe
        self._step = step
        self._world = world
        lots = examples.lots(recipe, epoch=0)
        self._lots = [world.part(lots[i % len(lots)]) for i in range(TRIALS)]
        self._known: dict[tuple[int, int], float] = {}

    def __call__(self, moment: int, steps: int) -> float:
        """Return the seconds that step ``moment`` of so many takes: in all processes the same."""
        trial = self._trial
        trial.total_steps = steps
        trial.epoch, trial.step = divmod(moment, trial.steps_per_epoch)
        self._step.begin_epoch(trial)
        size = image_size(self._recipe, trial.spec.preprocess.imgsz, moment, steps)
        thawed = sum(parameter.requires_grad for parameter in trial.network.parameters())
        if (size, thawed) not in self._known:
            self._known[size, thawed] = self._world.share(self._timed())
        return self._known[size, thawed]

    def _timed(self) -> float:
        seconds = []
        last = time.perf_counter()
        for pixels, rows in self._examples.source.batches(self._lots):
            self._step(self._trial, pixels, rows, self._examples.targets[rows], RATE)
            seconds.append(time.perf_counter() - last)
            last = time.perf_counter()
        return statistics.median(seconds[1:])


def _validation_seconds(trial: State, examples: Examples, recipe: Recipe, step: Step) -> float:
    """Return how long it takes to score all pictures to choose by, judged by a few of them."""
    some = examples.val[: 2 * recipe.batch]
    if not len(some):
        return 0.0
    began = time.perf_counter()
    outputs_of(
        trial.model,
        examples.source,
        some,
        precision=step.precision,
        batch=recipe.batch,
        features=False,
    )
    return (time.perf_counter() - began) * len(examples.val) / len(some)
