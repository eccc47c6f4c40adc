"""Interrupt: SIGINT and SIGTERM are handled at the end of the current step."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ilk.errors import Interrupted
from ilk.runtime import world_size
from ilk.text import escaped


def how_to_resume(folder: Path) -> str:
    """Return the sentence that tells how to resume a run."""
    processes = world_size()
    start = f"torchrun --nproc-per-node={processes} -m ilk" if processes > 1 else "ilk"
    return f"Resume with: {start} train --resume {shlex.quote(escaped(folder))}"


class Interrupt:
    """Whether the user wants the training to stop.

    Parameters
    ----------
    folder : Path
        The run's folder, for the message that tells how to resume.
    """

    def __init__(self, folder: Path) -> None:
        self._requested = False
        self._folder = folder

    def requested(self) -> bool:
        """Return whether a signal has come."""
        return self._requested

    def stop(self, saved: bool = True) -> None:
        """Stop, and tell how to resume, and whether the last steps were saved.

        Raises
        ------
        Interrupted
            Always.
        """
        state = "everything is saved" if saved else "the last steps could not be saved"
        raise Interrupted(f"Interrupted; {state}. {how_to_resume(self._folder)}")

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Take note of SIGINT and SIGTERM; a second signal ends the process at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals can only be handled in the main thread
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._note) for number in signals]
        try:
            yield
        finally:
            for number, handler in zip(signals, before, strict=True):
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True
