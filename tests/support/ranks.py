"""Train as each of several processes, and keep what each of them comes to.

torchrun runs this in place of ``-m ilk``, for only the leading process writes a run's folder. It
takes a folder and a JSON list of trainings; see `test_distributed.py`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch.distributed as dist

import ilk.cli
import ilk.training.step
import ilk.training.train


def keep_results(file: Path) -> None:
    """Let this process keep the model and the number of pictures that it was scored on."""
    written: Any = ilk.training.train._written

    def keep(folder: Path, trained: Any, *others: Any, **settings: Any) -> Any:
        trained.bundle.save(file)
        run = written(folder, trained, *others, **settings)
        left_out = [x.path for x in run.catalog.left_out]
        file.with_suffix(".json").write_text(json.dumps([run.evaluation.n, left_out]))
        return run

    ilk.training.train._written = keep


def go_astray(step: int) -> None:
    """Let the loss of this process not be finite in a step."""
    patched: Any = ilk.training.step.Step
    gradients = patched._gradients

    def astray(own: Any, state: Any, *others: Any) -> tuple[float, int]:
        loss, correct = gradients(own, state, *others)
        return (float("nan") if state.steps_done == step else loss), correct

    patched._gradients = astray


def main() -> None:
    folder, trainings, rank = Path(sys.argv[1]), json.loads(sys.argv[2]), int(os.environ["RANK"])
    dist.init_process_group("gloo")
    original = ilk.training.train._written
    codes = []
    for training in trainings:
        ilk.training.train._written = original
        keep_results(folder / f"{training['name']}-{rank}.safetensors")
        if rank == training.get("astray"):
            go_astray(step=2)
        codes.append(ilk.cli.run(["train", *training["arguments"], "--name", training["name"]]))
    (folder / f"codes-{rank}.json").write_text(json.dumps(codes))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
