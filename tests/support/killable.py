"""Trainings in processes of their own, which can be killed at a moment or after a checkpoint.

They are forked: a process that has imported everything but computed nothing has no threads yet, and
its children start at once. `killing.py` uses them.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import matplotlib.pyplot  # noqa: F401 -- what the children need is imported once, here
import sklearn.metrics  # noqa: F401
import torch
import torch._dynamo

import ilk
import ilk.engines.pytorch
import ilk.evaluation.plots
import ilk.evaluation.report
import ilk.training.modes
import ilk.training.progress.monitor
import ilk.training.train
import ilk.training.train_network

LONGEST = 180.0  # seconds until a training counts as hanging
BUDGETED_STEPS = 9  # what a budget is made to afford here: not a multiple of an epoch's steps


class Watched:
    """How far a training in a child process has come, in memory that it shares with its parent."""

    LAYOUT = "<qddd"

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, struct.calcsize(self.LAYOUT))

    def read(self) -> tuple[int, float, float, float]:
        """Return the steps done, how many seconds they took, and when the first and last ended."""
        return struct.unpack(self.LAYOUT, self._memory)

    def clear(self) -> None:
        self._memory[:] = bytes(len(self._memory))

    def note(self, steps: int, seconds: float) -> None:
        now = time.monotonic()
        first = self.read()[2] or now
        self._memory[:] = struct.pack(self.LAYOUT, steps, seconds, first, now)


@dataclass(frozen=True)
class Pace:
    """How many steps a peaceful training takes, and the seconds before, in each and after."""

    steps: int
    before: float
    step: float
    after: float


class Trainings:
    """Trainings by one recipe, each in a forked process and a folder of its own."""

    def __init__(self, data: Path, folder: Path, changes: dict[str, Any], plots: bool) -> None:
        self._data = data
        self._folder = folder
        self._changes = changes
        self._plots = plots
        self._watched = Watched()
        folder.mkdir(parents=True)

    def run(self, name: str) -> Path:
        return self._folder / name

    def peaceful(self) -> Pace:
        """Train without being disturbed, as the run ``peaceful``."""
        began = time.monotonic()
        self.begin("peaceful")
        ended = time.monotonic()
        steps, _, first, last = self._watched.read()
        return Pace(steps, first - began, (last - first) / (steps - 1), ended - last)

    def begin(self, name: str, killed: Killed | None = None) -> None:
        """Train, until it ends or is killed."""
        settings: dict[str, Any] = {"runs": self._folder, "name": name, "exist_ok": True}
        self._forked(name, lambda: ilk.train(self._data, **settings, **self._changes), killed)

    def resume(self, name: str, killed: Killed | None = None) -> None:
        """Resume a training, or start it again if it had not started."""
        if (self.run(name) / "run.json").is_file():
            self._forked(name, lambda: ilk.train(resume=self.run(name)), killed)
        else:
            self.begin(name, killed)

    def found(self, name: str, steps_of_all: int) -> dict[str, Any]:
        """Say when a training was killed, and how much of its work is lost."""
        run, (steps, seconds, _, _) = self.run(name), self._watched.read()
        saved = [facts_of(file) for file in (run / "checkpoints").glob("*-*.safetensors")]
        newest = max(saved, key=lambda facts: facts["steps_done"], default={})
        if not (run / "run.json").is_file():
            when = "before the training began"
        elif json.loads((run / "run.json").read_text())["finished"]:
            when = "after the end"
        elif not saved:
            when = "before the first checkpoint"
        elif [*(run / "checkpoints").glob(".*.part")]:
            when = "while a checkpoint was written"
        elif steps >= steps_of_all:
            when = "after the last step"
        else:
            when = "between two checkpoints"
        return {
            "when": when,
            "step": steps,
            "lost_steps": max(0, steps - newest.get("steps_done", 0)),
            "lost_seconds": max(0.0, seconds - newest.get("seconds", 0.0)),
        }

    def _forked(self, name: str, work: Callable[[], Any], killed: Killed | None) -> None:
        self._watched.clear()
        began = time.monotonic()
        log = self._folder / f"{name}.log"
        if not (child := os.fork()):
            self._be_child(log, work, killed)
        while time.monotonic() - began < LONGEST:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL):
                    raise SystemExit(f"A training failed:\n{log.read_text()}")
                return
            if isinstance(killed, AtMoment) and killed.has_come(self._watched, began):
                os.kill(child, signal.SIGKILL)
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        raise SystemExit(f"A training hangs:\n{log.read_text()}")

    def _be_child(self, log: Path, work: Callable[[], Any], killed: Killed | None) -> NoReturn:
        code = 1
        try:
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, 1)
            os.dup2(file, 2)
            torch.set_num_threads(1)
            self._patch(killed)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _patch(self, killed: Killed | None) -> None:
        """Change this process: note each step; draw nothing, which takes longer than to train."""
        monitor: Any = ilk.training.progress.monitor
        network: Any = ilk.training.train_network
        run: Any = ilk.training.run
        report_step, watched = monitor.Monitor.step, self._watched

        def step(own: Any, state: Any, sums: Any) -> None:
            watched.note(state.steps_done, state.seconds)
            report_step(own, state, sums)

        monitor.Monitor.step = step
        network.affordable_steps = lambda *_: BUDGETED_STEPS
        if not self._plots:
            monitor.plot_curves = lambda *_: None
            run.write_report = lambda *_, **__: None
        if isinstance(killed, AfterCheckpoint):
            killed.arrange()


@dataclass(frozen=True)
class AtMoment:
    """Kill when a training has come so far: 0 to 1 is before its first step, then in steps."""

    moment: float
    pace: Pace

    def has_come(self, watched: Watched, began: float) -> bool:
        now = time.monotonic()
        steps, _, _, last = watched.read()
        if not steps:
            return min(0.99, (now - began) / self.pace.before) >= self.moment
        seconds = self.pace.after if steps >= self.pace.steps else self.pace.step
        return steps + (now - last) / seconds >= self.moment


@dataclass(frozen=True)
class AfterCheckpoint:
    """Kill as soon as the checkpoint of a step lies on the disk."""

    step: int

    def arrange(self) -> None:
        """Let this process kill itself."""
        checkpoints: Any = ilk.training.checkpoint.Checkpoints
        write = checkpoints.write

        def write_and_die(own: Any, snapshot: Any, wait: bool = False) -> None:
            write(own, snapshot, wait=True)
            if snapshot.facts["steps_done"] == self.step:
                os.kill(os.getpid(), signal.SIGKILL)

        checkpoints.due = lambda own: own._writes
        checkpoints.write = write_and_die


Killed = AtMoment | AfterCheckpoint


def facts_of(checkpoint: Path) -> dict[str, Any]:
    """Read what a checkpoint says of itself, without touching its tensors."""
    with checkpoint.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(length))
    facts: dict[str, Any] = json.loads(header["__metadata__"].get("ilk.checkpoint", "{}"))
    return facts or {"steps_done": 0, "seconds": 0.0}
