"""Interrupt: Ctrl-C, or a polite end from outside, waits for the step that is under way."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ilk.errors import Interrupted
from ilk.text import escaped


def how_to_go_on(folder: Path) -> str:
    """Return the sentence that says how to resume a run."""
    processes = int(os.environ.get("WORLD_SIZE") or 1)
    start = f"torchrun --nproc-per-node={processes} -m ilk" if processes > 1 else "ilk"
    return f"Go on with: {start} train --resume {shlex.quote(escaped(folder))}"


class Interrupt:
    """Whether someone wants the training to stop.

    Parameters
    ----------
    folder : Path
        The run's folder, for the message that says how to go on.
    """

    def __init__(self, folder: Path) -> None:
        self.wanted = False
        self._folder = folder

    def leave(self, saved: bool = True) -> None:
        """Stop, saying how to go on, and whether that is from here.

        Raises
        ------
        Interrupted
            Always.
        """
        how = "everything is saved" if saved else "the last steps could not be saved"
        raise Interrupted(f"Interrupted; {how}. {how_to_go_on(self._folder)}")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take note of SIGINT and SIGTERM; the second one ends the process at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may listen
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._note) for number in signals]
        try:
            yield
        finally:
            for number, handler in zip(signals, before, strict=True):
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
