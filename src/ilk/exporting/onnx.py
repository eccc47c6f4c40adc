"""ONNX: the graph that most runtimes take, weights inside; as it is, or in int8."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ilk.arrays import Pixels
from ilk.engines.needs import needed
from ilk.exporting.job import Job
from ilk.exporting.trouble import trouble
from ilk.models.metadata import INPUT, OUTPUTS

OPSET = 20  # what onnxscript writes; ONNX Runtime 1.17, TensorRT 10 and OpenVINO 2024 read it
PIECE = 8
STEM = 3  # convolutions


def refuse_missing() -> None:
    """Refuse where the exporter is not installed.

    Raises
    ------
    EngineError
    """
    needed("onnx", "ilk[onnx]")
    needed("onnxscript", "ilk[onnx]")


def convert(job: Job) -> Any:
    """Return the network as an ONNX ``ModelProto``."""
    return job.graph


def translated(program: Any) -> Any:
    """Translate an ExportedProgram, by the exporter that followed the one of TorchScript."""
    refuse_missing()  # others begin with this too
    import torch

    with trouble("torch.onnx"):
        result = torch.onnx.export(
            program,
            (),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            verbose=False,
        )
        assert result is not None
        return result.model_proto


def convert_int8(job: Job) -> Any:
    """Return it quantised to int8: weights by channel, activations by what training pictures gave.

    In QDQ form, as ONNX Runtime, TensorRT and OpenVINO read it. The head stays in float32: it is
    small, and answers come from it. So do the first convolutions: their few channels differ most in
    range, and what they lose, all others miss.
    """
    onnx = needed("onnx", "ilk[onnx]")
    needed("onnxruntime", "ilk[onnx]")
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, trouble("ONNX Runtime"):
        whole, ready, small = (str(Path(folder) / f"{name}.onnx") for name in "abc")
        onnx.save(job.graph, whole)
        quant_pre_process(whole, ready, skip_symbolic_shape=True)
        quantize_static(
            ready,
            small,
            _Reader(job.batches(PIECE)),
            quant_format=QuantFormat.QDQ,
            nodes_to_exclude=_stem(onnx.load(ready)),
            op_types_to_quantize=["Conv", "Add", "GlobalAveragePool", "MaxPool", "MatMul"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(small)


def _stem(model: Any) -> list[str]:
    return [node.name for node in model.graph.node if node.op_type == "Conv"][:STEM]


def save(model: Any, path: Path, metadata: Mapping[str, str]) -> None:
    """Write it."""
    import onnx

    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    path.write_bytes(model.SerializeToString())


class _Reader:
    """Hands pictures to the calibration, in the way that it asks for them."""

    def __init__(self, batches: list[Pixels]) -> None:
        self._left = iter(batches)

    def get_next(self) -> dict[str, Pixels] | None:

        batch = next(self._left, None)
        return None if batch is None else {INPUT: batch}
