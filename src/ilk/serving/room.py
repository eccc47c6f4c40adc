"""Room: how much work, and how many bytes of bodies, a service holds at once."""

from __future__ import annotations

import threading

from ilk.serving.limits import Limits
from ilk.serving.refusals import too_busy
from ilk.serving.watch import Watch


class Room:
    """Refuses what would be too much, at once. Any thread may call it."""

    def __init__(self, limits: Limits, watch: Watch) -> None:
        self._limits = limits
        self._watch = watch
        self._lock = threading.Lock()
        self.pictures = 0
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether there is no room for one more picture."""
        return self.pictures >= self._limits.queue

    def take(self, pictures: int) -> None:
        """Take room for pictures.

        Raises
        ------
        Refusal
            There is not enough.
        """
        with self._lock:
            if self.pictures + pictures > self._limits.queue:
                self._watch.shed()
                raise too_busy()
            self.pictures += pictures

    def leave(self, pictures: int) -> None:
        """Give room for pictures back."""
        with self._lock:
            self.pictures -= pictures

    def hold(self, number: int) -> None:
        """Hold bytes of a body.

        Raises
        ------
        Refusal
            All requests together hold too many.
        """
        with self._lock:
            if self._bytes + number > self._limits.buffer_bytes:
                self._watch.shed()
                raise too_busy()
            self._bytes += number

    def drop(self, number: int) -> None:
        """Let go of bytes of a body."""
        with self._lock:
            self._bytes -= number
