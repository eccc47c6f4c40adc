from __future__ import annotations

import subprocess
import sys

from ilk.operators import SCHEMAS, declare_missing_operators, import_torchvision

# In a process of its own: what is declared in torch cannot be taken back.
WORKING = """
import torch
library = torch.library.Library("torchvision", "DEF")
library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import ilk.operators
ilk.operators._load_own_operators = lambda: None
assert ilk.operators.declare_missing_operators() == ()
"""


def test_torchvision_imports_whether_its_operators_load_or_not():
    declared = declare_missing_operators()
    assert import_torchvision().__name__ == "torchvision"
    # All of them for a CUDA build beside a CPU torch, none where the operators load.
    assert declared in {("nms", "qnms"), ()}
    assert tuple(SCHEMAS) == ("nms", "qnms")
    assert declare_missing_operators() == declared


def test_what_is_declared_answers_as_the_real_operators_would():
    import torch

    import_torchvision()
    for name in SCHEMAS:
        schema = getattr(torch.ops.torchvision, name).default._schema
        assert str(schema).startswith(f"torchvision::{name}(Tensor dets, Tensor scores, float iou")


def test_operators_that_are_there_are_left_untouched():
    answer = subprocess.run(
        [sys.executable, "-c", WORKING], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
