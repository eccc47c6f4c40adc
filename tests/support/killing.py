"""Kill trainings, let them go on, and compare what they yield with that of one left in peace.

A script, for its trainings are forked (see `killable.py`). `test_killed.py` runs it, and
`benchmarks/kills.py`; it prints a JSON list with a record a kill. Set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.datasets import load_digits

from ilk.models.backbones import create, import_timm
from killable import AfterCheckpoint, AtMoment, Killed, Pace, Trainings

TWICE = 3  # every so many-th training is killed again while it goes on
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

Plan = Callable[[Pace], list[Killed]]


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
