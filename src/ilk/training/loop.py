"""The training loop, from top to bottom.

Where a training is stands in `State`; what one step does, in `ilk.training.step`. Everything drawn
at random is a function of (seed, epoch, step): a training that was stopped goes on, from its last
checkpoint, as if it had not been.
"""

from __future__ import annotations

import logging
import math

from ilk.arrays import Indices
from ilk.errors import TrainingError
from ilk.recipe import Recipe
from ilk.training.checkpoint import Checkpoints
from ilk.training.distributed import ALONE, World
from ilk.training.examples import Examples
from ilk.training.history import Row
from ilk.training.interrupt import Interrupt
from ilk.training.optim.schedule import rate_factor
from ilk.training.progress.monitor import Monitor
from ilk.training.scoring import Scores, chosen_metric, outputs_of, scores_of
from ilk.training.state import Best, Running, State
from ilk.training.step import Step

log = logging.getLogger("ilk")


def fit(
    state: State,
    examples: Examples,
    recipe: Recipe,
    step: Step,
    checkpoints: Checkpoints,
    monitor: Monitor,
    interrupt: Interrupt,
    world: World = ALONE,
) -> None:
    """Train until the schedule ends, patience runs out, or the loss is no longer finite.

    Parameters
    ----------
    state : State
        Fresh or restored; changed in place.
    examples : Examples
    recipe : Recipe
    step : Step
        What happens to one batch.
    checkpoints : Checkpoints
        Where the state is kept.
    monitor : Monitor
        Tells how it goes.
    interrupt : Interrupt
        Says whether someone wants to stop.
    world : World
        The processes that train together.

    Raises
    ------
    Interrupted
        Someone wanted to stop; the state has been saved.
    TrainingError
        The loss is not finite, and there is no good epoch to keep.
    DataError
        Too many pictures cannot be decoded, which shows where they are not kept.
    """
    metric = chosen_metric(recipe.metric, examples.targets[examples.train])
    while not state.done and not out_of_patience(state, recipe):
        lots = lots_to_come(state, examples, recipe)
        step.begin_epoch(state)
        monitor.begin_epoch(state, sum(map(len, lots)))
        for pixels, rows in examples.source.batches([world.part(lot) for lot in lots]):
            rate = rate_factor(recipe, state.steps_done, state.steps_per_epoch, state.total_steps)
            loss, correct = step(state, pixels, rows, examples.targets[rows], rate)
            loss, correct, pictures = world.pooled(loss, correct, len(rows))
            if not math.isfinite(loss):
                keep_the_good(state, monitor, state.step + 1)
                return
            state.running.add(loss, correct, pictures)
            state.step += 1
            monitor.step(state, loss, pictures)
            save_if_due(state, checkpoints, interrupt, world)
        scores = validate(state, examples, recipe, step, monitor, world)
        # Pictures that are not kept show only now that they are broken: are they too many?
        examples.less_unreadable(recipe.max_unreadable, world)
        if not sound(state, scores):
            keep_the_good(state, monitor, state.step)
            return
        if scores and (state.best is None or scores.better_than(state.best.scores, metric)):
            state.best = Best(state.epoch + 1, scores, state.weights())
            checkpoints.write_best(state.bundle())
        state.history.append(history_row(state, scores))
        monitor.end_of_epoch(state)
        state.epoch, state.step, state.running = state.epoch + 1, 0, Running()
        if checkpoints.for_good(state.epoch):
            checkpoints.keep(state.snapshot())
        save_if_due(state, checkpoints, interrupt, world)
    checkpoints.write(state.snapshot(), wait=True)
    monitor.end(state)


def save_if_due(state: State, checkpoints: Checkpoints, interrupt: Interrupt, world: World) -> None:
    """Keep the state if it is time to; leave if someone wants to stop.

    Raises
    ------
    Interrupted
        Someone does.
    """
    if world.any(interrupt.wanted):
        interrupt.leave(saved=checkpoints.write(state.snapshot(), wait=True))
    if checkpoints.due():
        checkpoints.write(state.snapshot())


def lots_to_come(state: State, examples: Examples, recipe: Recipe) -> list[Indices]:
    """Return the rows of each step of this epoch that is still to come."""
    lots = examples.lots(recipe, state.epoch)
    left = state.total_steps - state.epoch * state.steps_per_epoch  # a budget may cut it short
    return lots[state.step : left]


def validate(
    state: State,
    examples: Examples,
    recipe: Recipe,
    step: Step,
    monitor: Monitor,
    world: World,
) -> Scores | None:
    """Score the network, as it would be used, on the pictures to choose by."""
    if not len(examples.val):
        return None
    _, logits, good = outputs_of(
        state.model,
        examples.source,
        examples.val,
        precision=step.precision,
        batch=-(-recipe.batch * recipe.accumulate // state.pieces),
        world=world,
        features=False,
    )
    rows = examples.val[good]
    if not len(rows):
        return None
    monitor.validated(state, rows, logits[good].argmax(axis=1))
    return scores_of(logits[good], examples.targets[rows])


def history_row(state: State, scores: Scores | None) -> Row:
    """Return what there is to remember of the epoch that ends."""
    before = state.history[-1].seconds if state.history else 0.0
    running = state.running
    return Row(
        epoch=state.epoch + 1,
        step=state.steps_done,
        seconds=round(state.seconds, 3),
        rate=state.rate,
        loss=running.loss / max(1, running.pictures),
        accuracy=running.correct / max(1, running.pictures),
        val_loss=scores.loss if scores else None,
        val_accuracy=scores.accuracy if scores else None,
        val_macro_f1=scores.macro_f1 if scores else None,
        pictures_per_second=round(running.pictures / max(1e-9, state.seconds - before), 1),
    )


def out_of_patience(state: State, recipe: Recipe) -> bool:
    """Say whether the best epoch lies too far back."""
    if recipe.patience is None or state.best is None:
        return False
    return state.epoch - state.best.epoch >= recipe.patience


def sound(state: State, scores: Scores | None) -> bool:
    """Say whether an epoch ends with weights of use: its last step may have burst them."""
    if scores:
        return math.isfinite(scores.loss)
    return all(bool(p.isfinite().all()) for p in state.model.parameters())


def keep_the_good(state: State, monitor: Monitor, step: int) -> None:
    """Stop with the best epoch so far, if there is one; ``step`` of this one, from 1, went astray.

    Raises
    ------
    TrainingError
        There is none.
    """
    where = f"epoch {state.epoch + 1}, step {step}"
    if state.best is None:
        raise TrainingError(
            f"The loss is not finite any more in {where}, at a learning rate of {state.rate:g}. "
            "Give a smaller --lr (--lr-find looks for one), a longer --warmup, or --clip 1."
        )
    log.warning(
        "The loss is not finite any more in %s. Stopped; the best epoch, %d, is kept.",
        where, state.best.epoch,
    )  # fmt: skip
    state.astray = where
    monitor.end(state)
