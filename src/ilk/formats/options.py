"""Options: what an exported file may have other than its format's defaults."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ilk.errors import UsageError

DEFAULT_OPSET = (
    20  # what onnxscript writes; ONNX Runtime 1.17, TensorRT 10 and OpenVINO 2024 read it
)
OPSETS = range(18, 24)  # that torch.onnx writes
SIZES = range(8, 4097)


@dataclass(frozen=True)
class ExportOptions:
    """What an exported file may have other than its format's defaults.

    Parameters
    ----------
    opset : int, optional
        The ONNX opset, 18 to 23; default 20.
    half : bool
        Weights and computation in float16; inputs and outputs stay as they are.
    imgsz : int, optional
        The side of the input in pixels; default: as the model was trained.

    Raises
    ------
    UsageError
        A number is out of range.
    """

    opset: int | None = None
    half: bool = False
    imgsz: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("opset", OPSETS), ("imgsz", SIZES)):
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise UsageError(
                    f"--{name} {value}: give a number from {allowed[0]} to {allowed[-1]}."
                )

    def given(self) -> dict[str, Any]:
        """Return the options that differ from the defaults."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value}
