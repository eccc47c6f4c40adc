"""Monitor: reports the progress of a training."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ilk.arrays import Indices, Targets
from ilk.recipe import Recipe
from ilk.runtime import Progress, silent
from ilk.text import duration
from ilk.training.examples import Examples
from ilk.training.history import epoch_line, write_history
from ilk.training.progress.advice import Advisor
from ilk.training.progress.curves import plot_curves
from ilk.training.state import State
from ilk.training.step import StepSums

log = logging.getLogger("ilk")
EVERY = 0.25  # seconds between two updates of the live line
GRADIENT_STEPS = 20  # steps between two points of TensorBoard's gradient norms


class Monitor:
    """Shows a live line, prints a line per epoch, writes ``history.csv``, curves and TensorBoard.

    Parameters
    ----------
    folder : Path
        The run's folder.
    recipe : Recipe
        Whether to write ``tensorboard/``, and what advice may suggest.
    enabled : bool
        Whether this process prints and writes: only the main process does.
    first_step : int
        The step that the training starts or resumes at.
    """

    def __init__(
        self,
        folder: Path,
        examples: Examples,
        recipe: Recipe,
        progress: Progress = silent,
        *,
        enabled: bool = True,
        first_step: int = 0,
    ) -> None:
        self._folder = folder
        self._examples = examples
        self._progress = progress
        self._enabled = enabled
        self._board = _open_board(folder, first_step) if recipe.tensorboard and enabled else None
        self._live = ExitStack()
        self._tick: Any = None
        self._pending = 0
        self._updated = 0.0
        self._advisor = Advisor(examples, recipe)

    def begin_epoch(self, state: State, pictures: int) -> None:
        """Start the live line of an epoch with so many pictures remaining."""
        if self._enabled:
            self._tick = self._live.enter_context(
                self._progress(
                    f"epoch {state.epoch + 1}/{state.epochs}", state.sums.pictures + pictures
                )
            )
            self._pending = state.sums.pictures
            self._updated = time.monotonic()

    def gradients(self, state: State, pixels: Any, soft: Any) -> None:
        """Record the gradients of a step, before the update."""
        if self._board is None:
            return
        if state.steps_done % GRADIENT_STEPS == 0:
            self._board.gradient_norms(state.steps_done, state.network)
        if state.step == 0:
            self._board.histograms(state.steps_done, state.network, pixels[:32])
            self._board.pictures(state.steps_done, pixels, soft, self._examples.classes)

    def step(self, state: State, sums: StepSums) -> None:
        """Count a step; update the live line a few times a second."""
        self._pending += sums.pictures
        now = time.monotonic()
        if self._tick and now - self._updated >= EVERY:
            self._updated = now
            accuracy = state.sums.correct / state.sums.pictures
            left = duration(state.seconds_left)
            self._tick(
                self._pending, f"loss {sums.mean_loss:.3f}, acc {100 * accuracy:.1f} %, {left} left"
            )
            self._pending = 0

    def validated(self, state: State, indices: Indices, predicted: Targets) -> None:
        """Show some of the validation pictures that were misclassified."""
        if self._board is None:
            return
        wrong = np.flatnonzero(predicted != self._examples.targets[indices])[:16]
        if len(wrong):
            pixels, read = next(self._examples.source.batches([indices[wrong]]))
            classes = dict(zip(indices.tolist(), predicted.tolist(), strict=True))
            self._board.wrong(
                state.steps_done,
                torch.from_numpy(pixels),
                torch.from_numpy(self._examples.targets[read]),
                torch.tensor([classes[int(index)] for index in read]),
                self._examples.classes,
            )

    def end_epoch(self, state: State) -> None:
        """Print the epoch's line and any warnings; write the history."""
        self._live.close()
        self._tick = None
        if not self._enabled:
            return
        row = state.history[-1]
        log.info("%s", epoch_line(row, state.epochs, state.seconds_left))
        for warning in self._advisor.new_warnings(state.history):
            log.warning("%s", warning)
        try:
            write_history(state.history, self._folder / "history.csv")
        except OSError as error:  # a full disk: the checkpoints hold the history too
            log.warning(
                "history.csv could not be written (%s). Training continues.", error.strerror
            )
        if self._board is not None:
            self._board.scalars(row)

    def end(self, state: State) -> None:
        """Draw the curves."""
        if not (self._enabled and state.history):
            return
        best = state.best.epoch if state.best else None
        try:
            plot_curves(state.history, self._folder / "plots" / "curves.png", best)
        except OSError as error:
            log.warning("The curves could not be drawn (%s).", error.strerror)

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *error: object) -> None:
        self._live.close()
        if self._board is not None:
            self._board.close()


def _open_board(folder: Path, first_step: int) -> Any:
    from ilk.training.progress.tensorboard import TensorBoard

    return TensorBoard(folder / "tensorboard", first_step)
