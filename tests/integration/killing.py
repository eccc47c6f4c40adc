"""Kill trainings, let them go on, and compare what they yield with that of one left in peace.

A script, for it forks: a process that has imported everything but computed nothing has no threads
yet, and its children start at once. `test_killed.py` runs it, and `benchmarks/kills.py`; it prints
a JSON list with a record a kill. Set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import csv
import json
import mmap
import os
import random
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
import numpy as np
import sklearn.metrics  # noqa: F401
import torch
import torch._dynamo
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.datasets import load_digits

import ilk
import ilk.api.training
import ilk.engines.pytorch
import ilk.evaluation.plots
import ilk.evaluation.report
import ilk.training.modes
from ilk.models.backbones import create, import_timm

LONGEST = 180.0  # seconds until a training counts as hanging
TWICE = 3  # every so many-th training is killed again while it goes on
BUDGETED_STEPS = 9  # what a budget is made to afford here: not a multiple of an epoch's steps
# So few minutes between checkpoints that one is always being written.
COMMON: dict[str, Any] = {"val_share": 0.15, "flip": 0.3, "checkpoint_minutes": 1e-5}
TINY: dict[str, Any] = {"imgsz": 16, "batch": 16, "epochs": 3}
CONFIGS: dict[str, dict[str, Any]] = {
    "scratch: Muon, moving average, mixup, growing pictures": {
        **TINY, "mode": "scratch", "model": "test_resnet", "rates": {}, "ema": 0.8, "mixup": 0.3,
        "sampling": "balanced", "imgsz_from": 8, "checkpoint_every": 1,
    },
    "scratch: AdamW, clipping, cutmix, two batches a step, a budget": {
        "mode": "scratch", "model": "test_vit", "rates": {}, "imgsz": 16, "optimizer": "adamw",
        "clip": 0.5, "cutmix": 1.0, "augment": "trivial", "batch": 12, "accumulate": 2,
        "budget": "1h",
    },
    "guide: SGD, thawed part by part, decoded anew each epoch, patience": {
        **TINY, "mode": "guide", "model": "test_resnet", "weights": True, "freeze": "backbone",
        "unfreeze_every": 1, "cache": "none", "workers": 2, "patience": 2,
    },
    "finetune: AdamW, moving average, frozen norms": {
        **TINY, "mode": "finetune", "model": "test_efficientnet", "weights": True, "epochs": 2,
        "engine": "pytorch", "regularisation": 1.0,
    },
    "scratch: as shipped, Muon, smallnet": {
        "mode": "scratch", "imgsz": 8, "epochs": 2, "batch": 24,
    },
}  # fmt: skip


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
        """Go on with a training, or begin it anew if it had not begun."""
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
        patched: Any = ilk.training.session
        fit, watched = patched.fit, self._watched

        def watched_fit(state: Any, *others: Any) -> None:
            monitor = others[4]
            told = monitor.step

            def step(state: Any, *facts: Any) -> None:
                watched.note(state.steps_done, state.seconds)
                told(state, *facts)

            monitor.step = step
            fit(state, *others)

        patched.fit = watched_fit
        patched.affordable_steps = lambda *_: BUDGETED_STEPS
        if not self._plots:
            ilk.training.monitor.plot_curves = lambda *_: None
            ilk.api.training.write_report = lambda *_: None
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
Plan = Callable[[Pace], list[Killed]]


def facts_of(checkpoint: Path) -> dict[str, Any]:
    """Read what a checkpoint says of itself, without touching its tensors."""
    with checkpoint.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(length))
    facts: dict[str, Any] = json.loads(header["__metadata__"].get("ilk.checkpoint", "{}"))
    return facts or {"steps_done": 0, "seconds": 0.0}


def results(run: Path) -> dict[str, Any]:
    """Return all that a training yields, less what tells the time."""
    with (run / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    for row in history:
        del row["seconds"], row["pictures_per_second"]
    metrics = json.loads((run / "metrics.json").read_text())
    for timed in ("seconds", "training_seconds", "features_computed", "features_cached"):
        metrics["training"].pop(timed, None)
    del metrics["model"]
    with safe_open(run / "model.safetensors", framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        said = file.metadata()
    return {
        "weights": {k: (v.dtype.str, v.shape, v.tobytes()) for k, v in arrays.items()},
        "spec": said,
        "history.csv": history,
        "metrics.json": metrics,
        "catalog.csv": (run / "catalog.csv").read_text(),
        "recipe.yaml": (run / "recipe.yaml").read_text(),
        "left behind": [str(p) for p in run.rglob("*.part")],
    }


def kills_of(trainings: Trainings, plan: Plan) -> list[dict[str, Any]]:
    """Kill trainings as planned, some of them twice, and compare what comes out in the end."""
    pace = trainings.peaceful()
    expected = results(trainings.run("peaceful"))
    to_come = plan(pace)
    records = []
    for number in range(len(to_come)):
        if not to_come:
            break
        name, begin, kills = f"killed-{number}", trainings.begin, []
        for _ in range(2 if number % TWICE == 0 and len(to_come) > 1 else 1):
            if not kills or kills[-1]["when"] != "after the end":
                begin(name, to_come.pop(0))
                kills.append(trainings.found(name, pace.steps))
                begin = trainings.resume
        if kills[-1]["when"] != "after the end":
            trainings.resume(name)
        found = results(trainings.run(name))
        differs = [what for what, value in expected.items() if found[what] != value]
        records += [{"training": name, **kill, "differs": differs} for kill in kills]
    return records


def at_random(number: int, seed: str) -> Plan:
    """Plan kills at random moments, from the start of the process to its end."""
    draw = random.Random(seed)
    return lambda pace: [AtMoment(draw.uniform(0, pace.steps + 1), pace) for _ in range(number)]


def after_each_step(pace: Pace) -> list[Killed]:
    """Plan a kill after the checkpoint of every step."""
    return [AfterCheckpoint(step) for step in range(1, pace.steps + 1)]


def write_data(folder: Path) -> None:
    """Write 120 digits of four classes as files."""
    digits = load_digits()
    for i in np.flatnonzero(digits.target < 4)[:120]:
        file = folder / f"digit {digits.target[i]}" / f"{i:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(digits.images[i] * (255 / 16)).astype(np.uint8)).save(file)


def write_weights(file: Path, model: str) -> None:
    """Write random weights that count as pretrained; in a child, so that this one stays idle."""
    if not (child := os.fork()):
        torch.manual_seed(0)
        save_file({k: v.numpy() for k, v in create(model).state_dict().items()}, file)
        os._exit(0)
    os.waitpid(child, 0)


def one_kind(folder: Path, config: str, plan: Plan, plots: bool) -> list[dict[str, Any]]:
    """Kill trainings of one kind."""
    changes = COMMON | CONFIGS[config]
    if "weights" in changes:
        changes["weights"] = folder / "weights.safetensors"
        write_weights(changes["weights"], changes["model"])
    trainings = Trainings(folder.parent / "data", folder / "runs", changes, plots)
    return [{"config": config, **record} for record in kills_of(trainings, plan)]


def all_kinds(folder: Path, plans: list[tuple[str, Plan]], jobs: int, plots: bool) -> list[Any]:
    """Kill trainings of each kind, some kinds at the same time, each in a process of its own."""
    answers = [folder / f"kind {number}" / "records.json" for number in range(len(plans))]
    for number, (answer, (config, plan)) in enumerate(zip(answers, plans, strict=True)):
        if number >= jobs:
            os.wait()
        answer.parent.mkdir()
        if not os.fork():
            try:
                answer.write_text(json.dumps(one_kind(answer.parent, config, plan, plots)))
            except BaseException:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(0)
    for _ in plans[-jobs:]:
        os.wait()
    return [record for answer in answers for record in json.loads(answer.read_text())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where all is written; made if need be")
    parser.add_argument("--kills", type=int, default=20, help="at random moments, of all kinds")
    parser.add_argument("--each-step", metavar="KIND", help="kill also after each step of a kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--plots", action="store_true", help="draw report and curves too")
    options = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        raise SystemExit("Set OMP_NUM_THREADS=1: a process with threads cannot be forked.")
    import_timm()
    write_data(options.folder / "data")
    numbers = {c: len(range(i, options.kills, len(CONFIGS))) for i, c in enumerate(CONFIGS)}
    plans = [(c, at_random(n, f"{options.seed} {c}")) for c, n in numbers.items() if n]
    if options.each_step:
        plans += [(c, after_each_step) for c in CONFIGS if c.startswith(options.each_step)]
    print(json.dumps(all_kinds(options.folder, plans, options.jobs, options.plots)))


if __name__ == "__main__":
    main()
