"""Formats that models are exported to, one family a file.

To add one, see docs/contributing/adding-a-format.md.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from ilk.errors import UsageError
from ilk.formats.base import Format
from ilk.formats.coreml import CoreML
from ilk.formats.executorch import ExecuTorch, ExecuTorchInt8
from ilk.formats.litert import LiteRT
from ilk.formats.onnx import Onnx, OnnxInt8
from ilk.formats.openvino import OpenVino, OpenVinoBf16, OpenVinoInt8
from ilk.formats.tensorrt import TensorRT
from ilk.formats.torch import TorchAot, TorchExport, TorchInt8, TorchScript
from ilk.formats.web import Web
from ilk.runtime import installed

FORMATS: tuple[Format, ...] = (
    Onnx(),
    OnnxInt8(),
    OpenVino(),
    OpenVinoBf16(),
    OpenVinoInt8(),
    TorchScript(),
    TorchExport(),
    TorchAot(),
    TorchInt8(),
    ExecuTorch(),
    ExecuTorchInt8(),
    CoreML(),
    LiteRT(),
    TensorRT(),
    Web(),
)
AUTO = "auto"  # stands for the fastest format on this machine, where a name is asked for


def format_named(name: str) -> Format:
    """Return the format of a name.

    Raises
    ------
    UsageError
        There is none; the message suggests the closest.
    """
    names = {form.name: form for form in FORMATS}
    if name in names:
        return names[name]
    aliases = {alias: form.name for form in FORMATS for alias in form.aliases}
    wanted = aliases.get(name.lower(), name.lower())
    close = get_close_matches(wanted, names, n=1)
    hint = f" Do you mean {close[0]}?" if close else ""
    raise UsageError(f"No format '{name}'.{hint} Choose from {AUTO}, {', '.join(names)}.")


def format_of(path: Path) -> Format | None:
    """Return the format of an exported file; None if it is no exported file.

    Formats that share an extension share their reader: any of them may be returned.
    """
    return next((form for form in FORMATS if form.recognizes(path)), None)


def extensions() -> set[str]:
    """Return the extensions that exported files have."""
    return {form.extension for form in FORMATS} - {""}


def receipt_packages() -> tuple[str, ...]:
    """Return the distributions whose versions go into receipts."""
    return tuple(dict.fromkeys(package for form in FORMATS for package in form.packages))


def search_order(goal: Literal["latency", "throughput", "size"]) -> tuple[Format, ...]:
    """Return the formats that the search for the fastest tries here, the most promising first."""

    def rank(form: Format) -> int | None:
        return form.size_rank if goal == "size" else form.speed_rank

    ranked = [(place, form) for form in FORMATS if (place := rank(form)) is not None]
    forms = (form for _, form in sorted(ranked, key=lambda pair: pair[0]))
    return tuple(f for f in forms if not f.search_requires or installed(f.search_requires))
