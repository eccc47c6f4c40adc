"""Monitor: tells people how a training goes, while it goes."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from ilk.arrays import Targets
from ilk.recipe import Recipe
from ilk.runtime import Progress, silent
from ilk.training.examples import Examples
from ilk.training.history import duration, told, write_history
from ilk.training.progress.advice import Advisor
from ilk.training.progress.curves import plot_curves
from ilk.training.state import State

log = logging.getLogger("ilk")
EVERY = 0.25  # seconds between two changes of the live line
GRADIENT_STEPS = 20  # steps between two points of TensorBoard's gradient norms


class Monitor:
    """Shows a live line, prints a line an epoch, writes ``history.csv``, curves and TensorBoard.

    Parameters
    ----------
    folder : Path
        The run's folder.
    examples : Examples
    recipe : Recipe
        Whether to write ``tensorboard/``, and what advice may propose.
    progress : Progress
    speaks : bool
        Whether this process speaks and writes; of several, only one does.
    first_step : int
        The step that this sitting begins with.
    """

    def __init__(
        self,
        folder: Path,
        examples: Examples,
        recipe: Recipe,
        progress: Progress = silent,
        *,
        speaks: bool = True,
        first_step: int = 0,
    ) -> None:
        self._folder = folder
        self._examples = examples
        self._progress = progress
        self._speaks = speaks
        self._board = _open_board(folder, first_step) if recipe.tensorboard and speaks else None
        self._live = ExitStack()
        self._tick: Any = None
        self._untold = 0
        self._shown = 0.0
        self._advisor = Advisor(examples, recipe)

    def begin_epoch(self, state: State, pictures: int) -> None:
        """Begin a live line for an epoch with so many pictures still to come."""
        if self._speaks:
            self._tick = self._live.enter_context(
                self._progress(
                    f"epoch {state.epoch + 1}/{state.epochs}", state.running.pictures + pictures
                )
            )
            self._untold = state.running.pictures
            self._shown = time.monotonic()

    def gradients(self, state: State, pixels: Any, soft: Any) -> None:
        """Look at a step while its gradients are there."""
        if self._board is None:
            return
        if state.steps_done % GRADIENT_STEPS == 0:
            self._board.gradient_norms(state.steps_done, state.network)
        if state.step == 0:
            self._board.histograms(state.steps_done, state.network, pixels[:32])
            self._board.pictures(state.steps_done, pixels, soft, self._examples.classes)

    def step(self, state: State, loss: float, pictures: int) -> None:
        """Take note of a step; change the live line a few times a second."""
        self._untold += pictures
        now = time.monotonic()
        if self._tick and now - self._shown >= EVERY:
            self._shown = now
            accuracy = state.running.correct / state.running.pictures
            left = duration(state.seconds_left)
            self._tick(
                self._untold,
                f"loss {loss:.3f}, acc {100 * accuracy:.1f} %, {left} left",
            )
            self._untold = 0

    def validated(self, state: State, rows: Targets, predicted: Targets) -> None:
        """Show some of the pictures to choose by that were named wrongly."""
        if self._board is None:
            return
        wrong = np.flatnonzero(predicted != self._examples.targets[rows])[:16]
        if len(wrong):
            pixels, read = next(self._examples.source.batches([rows[wrong]]))
            said = dict(zip(rows.tolist(), predicted.tolist(), strict=True))
            self._board.wrong(
                state.steps_done,
                torch.from_numpy(pixels),
                torch.from_numpy(self._examples.targets[read]),
                torch.tensor([said[int(row)] for row in read]),
                self._examples.classes,
            )

    def end_of_epoch(self, state: State) -> None:
        """Print the epoch's line and what it gives reason to say; write the history."""
        self._live.close()
        self._tick = None
        if not self._speaks:
            return
        row = state.history[-1]
        log.info("%s", told(row, state.epochs, state.seconds_left))
        for remark in self._advisor.after(state.history):
            log.warning("%s", remark)
        try:
            write_history(state.history, self._folder / "history.csv")
        except OSError as error:  # a full disk: the checkpoints remember the history too
            log.warning("history.csv could not be written (%s). Training goes on.", error.strerror)
        if self._board is not None:
            self._board.scalars(row)

    def end(self, state: State) -> None:
        """Draw the curves."""
        if not (self._speaks and state.history):
            return
        best = state.best.epoch if state.best else None
        try:
            plot_curves(state.history, self._folder / "plots" / "curves.png", best)
        except OSError as error:
            log.warning("The curves could not be drawn (%s).", error.strerror)

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.close()
        if self._board is not None:
            self._board.close()


def _open_board(folder: Path, first_step: int) -> Any:
    from ilk.training.progress.tensorboard import TensorBoard

    return TensorBoard(folder / "tensorboard", first_step)
