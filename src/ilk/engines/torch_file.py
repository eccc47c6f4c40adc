"""The engine for what PyTorch exports: TorchScript, ``torch.export`` and AOTInductor packages.

All three can carry code, which runs when they are loaded: their metadata is read without torch, and
the rest only where the user trusts it.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ilk.arrays import Floats, Pixels
from ilk.engines.needs import needed_quietly
from ilk.engines.pieces import PieceEngine
from ilk.runtime import installed
from ilk.spec import Spec


class TorchFileEngine(PieceEngine):
    """Runs a ``.torchscript`` or ``.pt2`` file on the CPU, as it was exported.

    Parameters
    ----------
    path : Path
    spec : Spec
    """

    def __init__(self, path: Path, spec: Spec) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of TorchScript being old
            self._network, kind = _loader(path)(path)
        self.name = f"pytorch-{torch.__version__}-{kind}"

    @torch.inference_mode()
    def run_piece(self, pixels: Pixels) -> list[Floats]:
        """Return probabilities, logits and features."""
        return [output.numpy() for output in self._network(torch.from_numpy(pixels))]


def _loader(path: Path) -> Callable[[Path], tuple[Any, str]]:
    if path.suffix == ".torchscript":
        return _torchscript
    with zipfile.ZipFile(path) as archive:
        compiled = any("/aotinductor/" in name for name in archive.namelist())
    return _compiled if compiled else _exported


def _torchscript(path: Path) -> tuple[Any, str]:
    return torch.jit.load(str(path), map_location="cpu"), "torchscript"


def _exported(path: Path) -> tuple[Any, str]:
    if installed("torchao"):  # int8 tensors are its own
        needed_quietly("torchao", "ilk[torchao]")
    return torch.export.load(path).module(), "export"


def _compiled(path: Path) -> tuple[Any, str]:
    return torch._inductor.aoti_load_package(str(path)), "inductor"
