"""Progress: bars in terminals and notebooks, elsewhere a line now and then, on stderr."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TextIO, TypeAlias

from ilk.runtime import Progress, Tick, silent
from ilk.text import duration

FIRST_S, EVERY_S = 0.7, 8.0  # when the first line comes, and the time between two
ProgressOption: TypeAlias = "Progress | bool | None"


def progress_of(wanted: ProgressOption) -> Progress:
    """Return what shows the progress that a caller of a public function wants to see.

    Parameters
    ----------
    wanted : bool or Progress, optional
        None: bars if stderr is a terminal, or in a notebook. True: elsewhere lines. False: nothing.
    """
    if callable(wanted):
        return wanted
    if wanted is False:
        return silent
    if _has_room_for_bars() or _is_notebook():
        return bars
    return lines if wanted or _is_terminal() else silent


@contextmanager
def bars(what: str, total: int) -> Iterator[Tick]:
    """Show a bar after a second; of a stage without a known total, its name."""
    from tqdm.auto import tqdm

    # Both fit 80 columns; a remark includes the remaining time.
    plain = "{desc} {percentage:3.0f}% |{bar:10}| {n_fmt} of {total_fmt}, {remaining} left"
    remarked = "{desc} {percentage:3.0f}% |{bar:5}| {rate_noinv_fmt}{postfix}"
    options = {"bar_format": plain, "delay": 1} if total else {"bar_format": "{desc} …"}
    with tqdm(total=total or None, desc=what, unit=" pic", leave=False, **options) as bar:

        def tick(number: int, remark: str = "") -> None:
            if remark:
                bar.bar_format = remarked
                bar.set_postfix_str(remark, refresh=False)
            bar.update(number)

        yield tick


@contextmanager
def lines(what: str, total: int) -> Iterator[Tick]:
    """Print a line within 2 seconds, and then every 10: how much is done, and the time left."""
    with heartbeat(what) as progress, progress(what, total) as tick:
        yield tick


@contextmanager
def heartbeat(what: str, with_bars: bool = True) -> Iterator[Progress]:
    """Tell what goes on for as long as it goes on: within 2 seconds, then every 10.

    Parameters
    ----------
    what : str
        What goes on between the stages that the `Progress` is told of.
    with_bars : bool
        Whether to show bars instead where stderr is a terminal.
    """
    told = _Told(what, with_bars and _has_room_for_bars())
    ended = threading.Event()
    with _own_stderr() as stream:
        thread = threading.Thread(target=told.tell, args=(stream, ended), name="ilk-progress")
        thread.daemon = True
        thread.start()
        try:
            yield told.stage
        finally:
            ended.set()
            thread.join()


@dataclass
class _Stage:
    what: str
    total: int = 0
    has_bar: bool = False
    done: int = 0
    remark: str = ""
    began: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        elapsed = time.monotonic() - self.began
        if not self.total:
            return f"{self.what}: {elapsed:,.0f} s"
        left = self.remark
        if self.done and not left:
            left = f"{duration(elapsed / self.done * max(0, self.total - self.done))} left"
        return f"{self.what}: {self.done:,} of {self.total:,}{', ' * bool(left)}{left}"


class _Told:
    """The stages that are going on, the innermost last."""

    def __init__(self, what: str, has_bars: bool) -> None:
        self._stages = [_Stage(what)]
        self._has_bars = has_bars

    @contextmanager
    def stage(self, what: str, total: int) -> Iterator[Tick]:
        stage = _Stage(what, total, has_bar=self._has_bars and total > 0)
        with (bars if stage.has_bar else silent)(what, total) as shown:

            def tick(number: int, remark: str = "") -> None:
                stage.done += number
                stage.remark = remark
                shown(number, remark)

            self._stages.append(stage)
            try:
                yield tick
            finally:
                self._stages.remove(stage)

    def tell(self, stream: TextIO | None, ended: threading.Event) -> None:
        wait = FIRST_S
        while not ended.wait(wait):
            stage = self._stages[-1]
            if not stage.has_bar:
                with suppress(OSError, ValueError):  # it was closed, or nobody reads it any more
                    print(stage, file=stream, flush=True)
            wait = EVERY_S


@contextmanager
def _own_stderr() -> Iterator[TextIO | None]:
    """Yield stderr, as a copy if it is a file: libraries may be kept from writing to it."""
    stream = sys.stderr
    try:
        number = os.dup(stream.fileno())
    except (AttributeError, OSError, ValueError):  # None, closed, or no file
        yield stream
        return
    with os.fdopen(number, "w", encoding=stream.encoding, errors="backslashreplace") as copy:
        yield copy


def _is_terminal() -> bool:
    return bool(sys.stderr and not sys.stderr.closed and sys.stderr.isatty())


def _has_room_for_bars() -> bool:
    """Return whether stderr is a terminal of some size; those of ``script``, say, show no bars."""
    if not _is_terminal():
        return False
    try:
        return all(os.get_terminal_size(sys.stderr.fileno()))
    except (OSError, ValueError):  # no file, which knows best
        return True


def _is_notebook() -> bool:
    """Return whether this is a notebook's kernel, which shows bars although it has no terminal."""
    shell: Callable[[], Any] | None = getattr(sys.modules.get("IPython"), "get_ipython", None)
    found = shell() if shell else None
    return found is not None and "IPKernelApp" in getattr(found, "config", {})
