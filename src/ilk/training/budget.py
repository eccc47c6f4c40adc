"""Budget: how many steps fit into a given time."""

from __future__ import annotations

import logging
import statistics
import time

from ilk.training.examples import Examples
from ilk.training.optim.schedule import image_size
from ilk.training.outputs import outputs_of
from ilk.training.plan import Plan
from ilk.training.state import State
from ilk.training.step import Step

log = logging.getLogger("ilk")
TRIALS = 4
MOMENTS = 6  # points of a schedule at which a step is timed
ROUNDS = 2
LR_FACTOR = 1e-3  # of the peak: a few steps at the peak itself could make the weights diverge
LATE = 1000  # epochs
SLACK = 0.95  # share of the budget: checkpoints and curves take time too


def affordable_steps(trial: State, examples: Examples, plan: Plan, step: Step) -> int:
    """Take a few steps, which are thrown away, and return how many fit into the budget.

    Pictures may grow and layers may be unfrozen during a training, which makes its steps slower;
    the mean step of a schedule is estimated at a few of its points. How much will be unfrozen
    depends on the number of steps, which is not yet known. A first schedule assumes that every
    step is as slow as the last: it is too short. A second, by the mean step of the first, is too
    long, as more is unfrozen in it. A third, by that of the second, is slightly too short.

    Parameters
    ----------
    trial : State
        A fresh one, not to be used afterwards.
    plan : Plan
        Its recipe has a budget.
    step : Step
        Not to be used afterwards either.
    """
    assert plan.recipe.budget_seconds is not None
    seconds = SLACK * plan.recipe.budget_seconds
    timer = StepTimer(trial, examples, plan, step)
    late = LATE * trial.steps_per_epoch
    each = timer(late, late + 1)
    validation = plan.world.broadcast(lambda: _validation_seconds(trial, examples, plan))
    validation /= trial.steps_per_epoch
    for _ in range(ROUNDS):
        steps = max(1, int(seconds / (each + validation)))
        moments = [int((i + 0.5) / MOMENTS * steps) for i in range(MOMENTS)]
        each = statistics.fmean(timer(moment, steps) for moment in moments)
    steps = max(1, int(seconds / (each + validation)))
    log.info(
        "A step takes %.2f s, an epoch with validation %.1f s: training for %.1f epochs in %s",
        each,
        (each + validation) * trial.steps_per_epoch,
        steps / trial.steps_per_epoch,
        plan.recipe.budget,
    )
    return steps


class StepTimer:
    """Measures how long a step takes at some point of a schedule; see `affordable_steps`.

    Points with pictures of the same size and the same layers unfrozen are measured once.
    """

    def __init__(self, trial: State, examples: Examples, plan: Plan, step: Step) -> None:
        self._trial = trial
        self._examples = examples
        self._plan = plan
        self._step = step
        batches = examples.epoch_batches(plan.recipe, epoch=0)
        self._batches = [batches[i % len(batches)] for i in range(TRIALS)]
        self._known: dict[tuple[int, int], float] = {}

    def __call__(self, moment: int, steps: int) -> float:
        """Return the seconds that step ``moment`` of so many takes: the same in all processes."""
        trial = self._trial
        trial.total_steps = steps
        trial.epoch, trial.step = divmod(moment, trial.steps_per_epoch)
        self._step.begin_epoch(trial)
        size = image_size(self._plan.recipe, trial.spec.preprocess.imgsz, moment, steps)
        unfrozen = sum(parameter.requires_grad for parameter in trial.network.parameters())
        if (size, unfrozen) not in self._known:
            seconds = self._measure()
            self._known[size, unfrozen] = self._plan.world.broadcast(lambda: seconds)
        return self._known[size, unfrozen]

    def _measure(self) -> float:
        seconds = []
        last = time.perf_counter()
        for batch in self._examples.load(self._batches, self._plan.world):
            self._step(self._trial, batch, LR_FACTOR)
            seconds.append(time.perf_counter() - last)
            last = time.perf_counter()
        return statistics.median(seconds[1:])


def _validation_seconds(trial: State, examples: Examples, plan: Plan) -> float:
    """Return how long it takes to score all validation pictures, estimated on a few of them."""
    few = examples.val[: 2 * plan.recipe.batch]
    if not len(few):
        return 0.0
    start = time.perf_counter()
    outputs_of(
        trial.model,
        examples.source,
        few,
        precision=plan.precision,
        batch=plan.recipe.batch,
        features=False,
    )
    return (time.perf_counter() - start) * len(examples.val) / len(few)
