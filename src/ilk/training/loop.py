"""The training loop, from top to bottom.

`State` holds how far a training has come; `ilk.training.step` is what one step does. Everything
drawn at random is a function of (seed, epoch, step): a training that was stopped continues from
its last checkpoint exactly as if it had not been.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from ilk.arrays import Indices
from ilk.errors import TrainingError
from ilk.training.checkpoint import Checkpoints
from ilk.training.examples import Examples
from ilk.training.history import Row
from ilk.training.interrupt import Interrupt
from ilk.training.optim.schedule import lr_factor
from ilk.training.outputs import outputs_of
from ilk.training.plan import Plan
from ilk.training.progress.monitor import Monitor
from ilk.training.scoring import Scores, chosen_metric, scores_of
from ilk.training.state import Best, EpochSums, State
from ilk.training.step import Step

log = logging.getLogger("ilk")


@dataclass
class Trainer:
    """The loop and what it works with.

    Attributes
    ----------
    state : State
        Fresh or restored; changed in place.
    step : Step
        What happens to one batch.
    monitor : Monitor
        Reports progress.
    interrupt : Interrupt
        Says whether the user wants to stop.
    """

    state: State
    examples: Examples
    plan: Plan
    step: Step
    checkpoints: Checkpoints
    monitor: Monitor
    interrupt: Interrupt

    def fit(self) -> None:
        """Train until the schedule ends, patience runs out, or the loss is no longer finite.

        Raises
        ------
        Interrupted
            The user wanted to stop; the state has been saved.
        TrainingError
            The training diverged before there was an epoch to keep.
        DataError
            Too many pictures cannot be decoded, which shows here if they are not cached.
        """
        state, recipe, world = self.state, self.plan.recipe, self.plan.world
        metric = chosen_metric(recipe.metric, self.examples.targets[self.examples.train])
        while not state.done and not self.out_of_patience():
            batches = self.remaining_batches()
            self.step.begin_epoch(state)
            self.monitor.begin_epoch(state, sum(map(len, batches)))
            for batch in self.examples.load(batches, world):
                factor = lr_factor(
                    recipe, state.steps_done, state.steps_per_epoch, state.total_steps
                )
                sums = self.step(state, batch, factor, self.interrupt.requested)
                if not math.isfinite(sums.loss):
                    self.stop_diverged(state.step + 1)
                    return
                state.sums.add(sums.loss, sums.correct, sums.pictures)
                state.step += 1
                self.monitor.step(state, sums)
                self.save_if_due(sums.stop)
            scores = self.validate()
            # Pictures that are not cached are known to be broken only now: are they too many?
            self.examples.readable_catalog(recipe.max_unreadable, world)
            if not self.is_finite(scores):
                self.stop_diverged(state.step)
                return
            if scores and (state.best is None or scores.better_than(state.best.scores, metric)):
                state.best = Best(state.epoch + 1, scores, state.weights())
                self.checkpoints.write_best(state.bundle())
            state.history.append(self.history_row(scores))
            self.monitor.end_epoch(state)
            state.epoch, state.step, state.sums = state.epoch + 1, 0, EpochSums()
            if self.checkpoints.keeps_epoch(state.epoch):
                self.checkpoints.write_epoch(state.snapshot())
            self.save_if_due(world.any(self.interrupt.requested()))
        self.checkpoints.write(state.snapshot(), wait=True)
        self.monitor.end(state)

    def out_of_patience(self) -> bool:
        """Return whether the best epoch is too long ago."""
        patience, best = self.plan.recipe.patience, self.state.best
        return patience is not None and best is not None and (
            self.state.epoch - best.epoch >= patience
        )  # fmt: skip

    def remaining_batches(self) -> list[Indices]:
        """Return the indices of each remaining step of this epoch."""
        state = self.state
        batches = self.examples.epoch_batches(self.plan.recipe, state.epoch)
        # A budget may end the training within an epoch.
        return batches[state.step : state.total_steps - state.epoch * state.steps_per_epoch]

    def save_if_due(self, stop: bool) -> None:
        """Write a checkpoint if it is time to; end the training if the user wants to stop.

        Raises
        ------
        Interrupted
            The user does.
        """
        if stop:
            self.interrupt.stop(saved=self.checkpoints.write(self.state.snapshot(), wait=True))
        if self.checkpoints.due():
            self.checkpoints.write(self.state.snapshot())

    def validate(self) -> Scores | None:
        """Score the network, as it would be used, on the validation pictures."""
        val, recipe = self.examples.val, self.plan.recipe
        if not len(val):
            return None
        _, logits, readable = outputs_of(
            self.state.model,
            self.examples.source,
            val,
            precision=self.plan.precision,
            batch=-(-recipe.batch * recipe.accumulate // self.state.micro_batches),
            world=self.plan.world,
            features=False,
        )
        indices = val[readable]
        if not len(indices):
            return None
        self.monitor.validated(self.state, indices, logits[readable].argmax(axis=1))
        return scores_of(logits[readable], self.examples.targets[indices])

    def history_row(self, scores: Scores | None) -> Row:
        """Return the row of the history for the epoch that ends."""
        state, sums = self.state, self.state.sums
        before = state.history[-1].seconds if state.history else 0.0
        return Row(
            epoch=state.epoch + 1,
            step=state.steps_done,
            seconds=round(state.seconds, 3),
            lr=state.lr,
            loss=sums.loss / max(1, sums.pictures),
            accuracy=sums.correct / max(1, sums.pictures),
            val_loss=scores.loss if scores else None,
            val_accuracy=scores.accuracy if scores else None,
            val_macro_f1=scores.macro_f1 if scores else None,
            pictures_per_second=round(sums.pictures / max(1e-9, state.seconds - before), 1),
        )

    def is_finite(self, scores: Scores | None) -> bool:
        """Return whether an epoch ends with finite weights: its last step may have diverged."""
        if scores:
            return math.isfinite(scores.loss)
        return all(bool(p.isfinite().all()) for p in self.state.model.parameters())

    def stop_diverged(self, step: int) -> None:
        """Stop with the best epoch so far; the training diverged in this ``step`` of the epoch.

        Raises
        ------
        TrainingError
            There is no epoch to keep.
        """
        state = self.state
        where = f"epoch {state.epoch + 1}, step {step}"
        if state.best is None:
            raise TrainingError(
                f"The training diverged: the loss became NaN or infinite in {where}, at a learning "
                f"rate of {state.lr:g}. Give a smaller --lr (--lr-find suggests one), a longer "
                "--warmup, or --clip 1."
            )
        log.warning(
            "The training diverged: the loss became NaN or infinite in %s. Stopped; the best "
            "epoch, %d, is kept.", where, state.best.epoch,
        )  # fmt: skip
        state.diverged_at = where
        self.monitor.end(state)
