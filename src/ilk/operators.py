"""Import torchvision where its compiled operators do not load.

PyPI's torchvision for Linux is built for CUDA. Beside a CPU build of torch its operators stay
unregistered, and importing it (or timm, which imports it) dies with "operator torchvision::nms does
not exist". ilk uses none of these operators: declaring their schemas is enough.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

# torchvision registers shape functions for these at import, and asks for nothing else.
SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def import_torchvision() -> ModuleType:
    """Import torchvision, declaring the operator schemas it misses first.

    A torchvision whose operators load is left untouched.
    """
    declare_missing_operators()
    import torchvision

    return torchvision  # type: ignore[no-any-return]


@cache
def declare_missing_operators() -> tuple[str, ...]:
    """Declare the schemas that torchvision needs and does not bring; return their names."""
    import torch

    _load_own_operators()
    namespace = torch.ops.torchvision
    missing = tuple(name for name in SCHEMAS if not hasattr(namespace, name))
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing:
            library.define(SCHEMAS[name])
        _KEPT.append(library)  # a collected Library takes its schemas with it
    return missing


_KEPT: list[object] = []


def _load_own_operators() -> None:
    """Load torchvision's compiled operators if they can be, as importing it would."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        library = Path(spec.origin).parent / f"_C{suffix}"
        if library.exists():
            try:
                torch.ops.load_library(library)
            except OSError:  # built for CUDA, which is missing
                continue
