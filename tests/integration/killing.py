"""Kill trainings at random moments, let them go on, and compare with trainings left in peace.

A script, for it forks: a process that has imported all but computed nothing has no threads yet, and
its children need not import anything. `test_killed.py` runs it, and `benchmarks/kills.py`. It
prints a JSON list with a record a kill.
"""

from __future__ import annotations

import os

for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"  # before anything makes threads

import argparse
import csv
import json
import mmap
import random
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot  # noqa: F401 -- what the children need is imported once, here
import numpy as np
import sklearn.metrics  # noqa: F401
import torch
import torch._dynamo
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

import ilk
import ilk.api.training
import ilk.engines.pytorch
import ilk.evaluation.plots
import ilk.evaluation.report
import ilk.training.modes
import ilk.training.monitor
from ilk.models.backbones import create, import_timm

PATIENCE = 180.0  # seconds until a training counts as hanging
SECOND_KILLS = 3  # every so many-th training is killed again while it goes on
CONTINUOUS = 1e-5  # minutes between checkpoints: one is always being written
COMMON: dict[str, Any] = {"val_share": 0.15, "flip": 0.3, "checkpoint_minutes": CONTINUOUS}
TINY: dict[str, Any] = {"imgsz": 16, "batch": 16, "epochs": 3}
PRETRAINED = {"mode": "guide", "lr": 0.02, "momentum": 0.9, "weights": "weights"}
CONFIGS: dict[str, dict[str, Any]] = {
    "scratch, smallnet, Muon": {"mode": "scratch", "imgsz": 8, "epochs": 2, "batch": 24},
    "scratch, Muon, moving average, mixup": {
        **TINY, "mode": "scratch", "model": "test_resnet", "ema": 0.8, "mixup": 0.3,
        "sampling": "balanced", "checkpoint_every": 1, "imgsz_from": 8,
    },
    "scratch, AdamW, clipping, cutmix, two batches a step": {
        **TINY, "mode": "scratch", "model": "test_vit", "optimizer": "adamw", "clip": 0.5,
        "cutmix": 1.0, "augment": "trivial", "batch": 12, "accumulate": 2, "warmup": 1,
    },
    "guide, SGD, thawed part by part, decoded anew each epoch": {
        **TINY, **PRETRAINED, "model": "test_resnet", "freeze": "backbone", "unfreeze_every": 1,
        "cache": "none", "workers": 2, "patience": 2,
    },
    "finetune, AdamW, moving average, frozen norms": {
        **TINY, "mode": "finetune", "model": "test_efficientnet", "weights": "weights",
        "engine": "pytorch", "regularisation": 1.0, "epochs": 2,
    },
}  # fmt: skip


class Watched:
    """How far a training in a child process has come, in memory that it shares with its parent."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 16)

    def note(self, steps: int, seconds: float) -> None:
        self._memory[:] = struct.pack("<qd", steps, seconds)

    @property
    def progress(self) -> tuple[int, float]:
        """Steps done, and the seconds that they took."""
        steps, seconds = struct.unpack("<qd", self._memory)
        return int(steps), float(seconds)


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

    def begin(self, name: str, kill_after: float | None = None) -> bool:
        """Train; return whether it came to its end before it was killed."""
        return self._forked(
            name,
            lambda: ilk.train(
                self._data, runs=self._folder, name=name, exist_ok=True, **self._changes
            ),
            kill_after,
        )

    def resume(self, name: str, kill_after: float | None = None) -> bool:
        """Go on with a training, or begin it anew if it had not begun."""
        if not (self.run(name) / "run.json").is_file():
            return self.begin(name, kill_after)
        return self._forked(name, lambda: ilk.train(resume=self.run(name)), kill_after)

    def found(self, name: str, total: int) -> dict[str, Any]:
        """Say when a training was killed, and how much of its work is lost."""
        run, (steps, seconds) = self.run(name), self._watched.progress
        kept = sorted((run / "checkpoints").glob("step-*.safetensors"))
        saved = facts_of(kept[-1]) if kept else {"steps_done": 0, "seconds": 0.0}
        if not (run / "run.json").is_file():
            when = "before the training began"
        elif json.loads((run / "run.json").read_text())["finished"]:
            when = "after the end"
        elif not kept:
            when = "before the first checkpoint"
        elif [*(run / "checkpoints").glob(".step-*.part")]:
            when = "while a checkpoint was written"
        elif steps >= total:
            when = "after the last step"
        else:
            when = "between two checkpoints"
        return {
            "when": when,
            "steps_done": steps,
            "lost_steps": max(0, steps - saved["steps_done"]),
            "lost_seconds": max(0.0, seconds - saved["seconds"]),
        }

    def _forked(self, name: str, work: Callable[[], Any], kill_after: float | None) -> bool:
        self._watched.note(0, 0.0)
        if not (child := os.fork()):
            self._child(name, work)
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(child, signal.SIGKILL)
        return _ended(child, self._folder / f"{name}.log")

    def _child(self, name: str, work: Callable[[], Any]) -> None:
        code = 1
        try:
            log = os.open(self._folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream in (1, 2):
                os.dup2(log, stream)
            torch.set_num_threads(1)
            _watch(self._watched)
            if not self._plots:  # they take longer to draw than the networks to train
                ilk.training.monitor.plot_curves = lambda *_: None
                ilk.api.training.write_report = lambda *_: None
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)


def _watch(watched: Watched) -> None:
    """Let the monitor note how far the training has come."""
    monitor: Any = ilk.training.monitor.Monitor
    told = monitor.step

    def step(self: Any, state: Any, loss: float, pictures: int) -> None:
        watched.note(state.steps_done, state.seconds)
        told(self, state, loss, pictures)

    monitor.step = step


def _ended(child: int, log: Path) -> bool:
    """Wait for a child; return whether it ended well, and not by being killed."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            if code not in (0, -signal.SIGKILL):
                raise SystemExit(f"A training failed:\n{log.read_text()}")
            return code == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    raise SystemExit(f"A training hangs:\n{log.read_text()}")


def facts_of(checkpoint: Path) -> dict[str, Any]:
    """Read what a checkpoint says of itself, without touching its tensors."""
    with checkpoint.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(length))
    facts: dict[str, Any] = json.loads(header["__metadata__"]["ilk.checkpoint"])
    return facts


def model_in(file: Path) -> tuple[dict[str, str], dict[str, tuple[str, tuple[int, ...], bytes]]]:
    """Return what a model's file says, and its weights to the bit; their order in it is any."""
    with safe_open(file, framework="numpy") as opened:
        arrays = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        return opened.metadata(), {k: (v.dtype.str, v.shape, v.tobytes()) for k, v in arrays.items()}


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
    return {
        "model": model_in(run / "model.safetensors"),
        "history": history,
        "metrics": metrics,
        "catalog": (run / "catalog.csv").read_text(),
        "left behind": [str(p) for p in run.rglob("*.part")],
    }


def kills_of(trainings: Trainings, number: int, draw: random.Random) -> list[dict[str, Any]]:
    """Kill so many trainings, some of them twice, and compare what comes out in the end."""
    began = time.monotonic()
    trainings.begin("peaceful")
    seconds = time.monotonic() - began
    expected = results(trainings.run("peaceful"))
    total = int(expected["history"][-1]["step"])
    records = []
    while len(records) < number:
        name = f"killed-{len(records)}"
        first: dict[str, Any] = {"resumed": 0}
        begin, kills = trainings.begin, 1
        if len(records) % SECOND_KILLS == 0 and len(records) + 1 < number:
            kills = 2
        done = []
        for _ in range(kills):
            begin(name, kill_after=draw.uniform(0, 1.05 * seconds))
            done.append(trainings.found(name, total))
            begin = trainings.resume
            if done[-1]["when"] == "after the end":
                break
        if done[-1]["when"] != "after the end":
            trainings.resume(name)
        found = results(trainings.run(name))
        differs = [what for what, value in expected.items() if found[what] != value]
        records += [{**kill, **first, "total_steps": total, "differs": differs} for kill in done]
    return records


def write_data(folder: Path) -> Path:
    """Write 120 digits of four classes as files."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for i in np.flatnonzero(digits.target < 4)[:120]:
        file = folder / f"digit {digits.target[i]}" / f"{i:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(digits.images[i] * (255 / 16)).astype(np.uint8)).save(file)
    return folder


def write_weights(file: Path, model: str) -> Path:
    """Write weights that count as pretrained; of a child, so that no threads come to be here."""
    if not (child := os.fork()):
        torch.manual_seed(0)
        save_file({k: v.numpy() for k, v in create(model).state_dict().items()}, file)
        os._exit(0)
    os.waitpid(child, 0)
    return file


def work(folder: Path, kills: dict[str, int], seed: int, plots: bool) -> list[dict[str, Any]]:
    """Kill so many trainings of each of some kinds."""
    records = []
    for config, number in kills.items():
        changes = COMMON | CONFIGS[config]
        own = folder / config.replace(", ", "-").replace(" ", "-")
        if "weights" in changes:
            file = folder / f"{changes['model']}.safetensors"
            changes["weights"] = write_weights(file, changes["model"])
        trainings = Trainings(folder / "data", own, changes, plots)
        draw = random.Random(f"{seed} {config}")
        records += [{"config": config, **r} for r in kills_of(trainings, number, draw)]
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--plots", action="store_true", help="draw the report and the curves too")
    options = parser.parse_args()
    import_timm()
    write_data(options.folder / "data")
    numbers = {
        config: len(range(i, options.kills, len(CONFIGS))) for i, config in enumerate(CONFIGS)
    }
    workers = {}
    for job in range(options.jobs):
        share = dict([*numbers.items()][job :: options.jobs])
        answer = options.folder / f"answer-{job}.json"
        if not (pid := os.fork()):
            try:
                answer.write_text(json.dumps(work(options.folder, share, options.seed, options.plots)))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        workers[pid] = answer
    records = []
    for pid, answer in workers.items():
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            raise SystemExit("A worker failed.")
        records += json.loads(answer.read_text())
    print(json.dumps(records))


if __name__ == "__main__":
    main()
