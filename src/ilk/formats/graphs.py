"""Graphs: what converters start from. The network as a program, a trace or an ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ilk.arrays import Pixels
from ilk.errors import ExportError
from ilk.formats.libraries import import_optional, quiet_converter
from ilk.formats.options import DEFAULT_OPSET, ExportOptions
from ilk.models.bundle import Bundle
from ilk.models.metadata import INPUT, OUTPUTS

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ilk.formats.exportable import Exportable

MIN_CALIBRATION = 8  # pictures; fewer give useless ranges of activations
MAX_BATCH = 32  # for formats that plan their memory ahead
BATCH_AXIS = "N"
MODEL_VERSION = 1  # of what goes in and comes out: see docs/export.md
ONNX_EXPORT = (("onnx", "ilk[onnx]"), ("onnxscript", "ilk[onnx]"))


@dataclass(frozen=True, eq=False)
class ExportJob:
    """A model to convert. Graphs that several formats start from are computed once.

    Attributes
    ----------
    pixels : uint8 array [M, S, S, 3]
        Training pictures to calibrate int8 with; M may be 0.
    max_drop : float or None
        The share of their predictions that int8 may change before it is worth minutes to find the
        layers that cause it; None: never search.
    options : ExportOptions
    """

    bundle: Bundle
    pixels: Pixels
    max_drop: float | None = None
    options: ExportOptions = field(default_factory=ExportOptions)

    @cached_property
    def network(self) -> Exportable:
        """From pixels to probabilities, logits and features, in float32."""
        from ilk.formats.exportable import exportable

        return exportable(self.bundle)

    @property
    def example(self) -> Tensor:
        """Two black pictures ``uint8 [2, S, S, 3]``; tracing one would fix the batch size at 1."""
        import torch

        side = self.bundle.spec.preprocess.imgsz
        return torch.zeros((2, side, side, 3), dtype=torch.uint8)

    @cached_property
    def script(self) -> Any:
        """The network as a frozen TorchScript trace."""
        import torch

        with torch.no_grad(), quiet_converter("torch.jit.trace"):
            trace = torch.jit.trace(self.network, self.example, check_trace=False)
            return torch.jit.freeze(trace)

    @cached_property
    def program(self) -> Any:
        """The network as a ``torch.export`` program for any batch size.

        Raises
        ------
        ExportError
            It cannot be exported.
        """
        return exported_program(self.network, self.example)

    @cached_property
    def graph(self) -> Any:
        """The network as an ONNX ``ModelProto``.

        Raises
        ------
        ExportError
            It cannot be exported, or not with this opset.
        """
        for module, package in ONNX_EXPORT:
            import_optional(module, package)
        import torch

        opset = self.options.opset or DEFAULT_OPSET
        with quiet_converter("torch.onnx"):
            result = torch.onnx.export(
                self.program,
                (),
                dynamo=True,
                opset_version=opset,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                verbose=False,
            )
            assert result is not None
            model = result.model_proto
        written = next(entry.version for entry in model.opset_import if not entry.domain)
        if written != opset:
            raise ExportError(
                f"This network needs ONNX opset {written}, not {opset}. Drop --opset, or give "
                f"--opset {written}."
            )
        _name_axes(model)
        model.model_version = MODEL_VERSION
        return model

    def batches(self, size: int) -> list[Pixels]:
        """Return the calibration pixels in batches."""
        return [
            np.ascontiguousarray(self.pixels[i : i + size])
            for i in range(0, len(self.pixels), size)
        ]


def _name_axes(model: Any) -> None:
    """Call the only free axis of inputs, outputs and what lies between ``N``."""
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = BATCH_AXIS


def exported_program(network: nn.Module, example: Tensor, max_batch: int | None = None) -> Any:
    """Return a network as an ``ExportedProgram`` for any batch size, or up to ``max_batch``.

    Raises
    ------
    ExportError
        Its control flow or its shapes depend on the data.
    """
    import torch

    batch = torch.export.Dim("batch", min=1, max=max_batch)
    with quiet_converter("torch.export"):
        program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
    for node in program.graph.nodes:  # exported files must not reveal paths of this machine
        node.meta.pop("stack_trace", None)
    return program
