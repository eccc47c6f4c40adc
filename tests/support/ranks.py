"""Train as each of several processes, and save the result of each.

torchrun runs this in place of ``-m ilk``, for only the main process writes a run's folder. It
takes a folder and a JSON list of trainings; see `test_distributed.py`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import ilk.cli
import ilk.training.step
import ilk.training.train
from quick import blank_plots

PATCHED: Any = ilk.training.train
ORIGINAL = PATCHED.write_run


def keep_results(file: Path) -> None:
    """Let this process save its model, and on how many pictures it was scored."""
    written = ORIGINAL

    def keep(folder: Path, result: Any, *others: Any, **settings: Any) -> Any:
        result.bundle.save(file)
        run = written(folder, result, *others, **settings)
        left_out = [x.path for x in run.catalog.left_out]
        file.with_suffix(".json").write_text(json.dumps([run.evaluation.n, left_out]))
        return run

    PATCHED.write_run = keep


def diverge(step: int) -> None:
    """Give this process a picture of NaN in a step, so that its loss is not finite."""
    patched: Any = ilk.training.step.Step
    augmented = patched.augmented

    def broken(own: Any, state: Any, batch: Any) -> Any:
        pixels, targets = augmented(own, state, batch)
        if state.steps_done == step:
            pixels = torch.full_like(pixels, float("nan"), dtype=torch.float32)
        return pixels, targets

    patched.augmented = broken


def main() -> None:
    folder, trainings, rank = Path(sys.argv[1]), json.loads(sys.argv[2]), int(os.environ["RANK"])
    dist.init_process_group("gloo")
    blank_plots(pytest.MonkeyPatch())
    codes = []
    for training in trainings:
        keep_results(folder / f"{training['name']}-{rank}.safetensors")
        if rank == training.get("diverges"):
            diverge(step=2)
        codes.append(ilk.cli.run(["train", *training["arguments"], "--name", training["name"]]))
    (folder / f"codes-{rank}.json").write_text(json.dumps(codes))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
