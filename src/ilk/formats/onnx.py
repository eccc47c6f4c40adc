"""ONNX: the graph that most runtimes read, weights inside; in float32 or int8."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ilk.arrays import Floats, Pixels
from ilk.engines.base import ChunkedEngine, Precision
from ilk.errors import ModelError
from ilk.formats.base import Format
from ilk.formats.graphs import ONNX_EXPORT, ExportJob
from ilk.formats.libraries import import_optional, quiet_converter
from ilk.models.metadata import INPUT, OUTPUTS
from ilk.runtime import cores
from ilk.spec import Spec
from ilk.text import error_text, escaped, join_limited

STANDARD_DOMAINS = {"", "ai.onnx"}  # of operators
STEM_CONVOLUTIONS = 3
CALIBRATION_BATCH = 8


class _OnnxFile(Format):
    noun = "an ONNX file"
    packages = ("onnx", "onnxruntime")

    def save(self, converted: Any, path: Path, metadata: Mapping[str, str]) -> None:
        save_model(converted, path, metadata)

    def open(self, path: Path, spec: Spec, precision: Precision = "auto") -> ChunkedEngine:
        return OnnxRuntimeEngine(path)

    def metadata_of(self, path: Path) -> dict[str, str]:
        return read_metadata(path)


class Onnx(_OnnxFile):
    """The network as ``torch.onnx`` exports it."""

    name = "onnx"
    suffix = ".onnx"
    options = frozenset({"opset", "half", "imgsz"})
    requires = ONNX_EXPORT
    speed_rank = 6

    def convert(self, job: ExportJob) -> Any:
        return _in_half(job.graph) if job.options.half else job.graph


class OnnxInt8(_OnnxFile):
    """Static int8 in QDQ form, as ONNX Runtime, TensorRT and OpenVINO read it.

    Weights are quantized by channel, activations by their range on training pictures. The head
    stays in float32: it is small, and decides the predictions. So do the first convolutions: the
    ranges of their few channels differ most, and their errors reach all other layers.
    """

    name = "onnx-int8"
    suffix = "-int8.onnx"
    exact = False
    calibrated = True
    options = frozenset({"opset", "imgsz"})
    requires = (*ONNX_EXPORT, ("onnxruntime", "ilk[onnx]"))
    speed_rank = 5
    size_rank = 1

    def convert(self, job: ExportJob) -> Any:
        onnx = import_optional("onnx", "ilk[onnx]")
        ort = import_optional("onnxruntime.quantization", "ilk[onnx]")
        shapes = import_optional("onnxruntime.quantization.shape_inference", "ilk[onnx]")
        with tempfile.TemporaryDirectory() as folder, quiet_converter("ONNX Runtime"):
            exported, prepared, quantized = (str(Path(folder) / f"{x}.onnx") for x in "abc")
            onnx.save(job.graph, exported)
            shapes.quant_pre_process(exported, prepared, skip_symbolic_shape=True)
            convolutions = [n for n in onnx.load(prepared).graph.node if n.op_type == "Conv"]
            ort.quantize_static(
                prepared,
                quantized,
                _CalibrationReader(job.batches(CALIBRATION_BATCH)),
                quant_format=ort.QuantFormat.QDQ,
                nodes_to_exclude=[node.name for node in convolutions[:STEM_CONVOLUTIONS]],
                op_types_to_quantize=["Conv", "Add", "GlobalAveragePool", "MaxPool", "MatMul"],
                per_channel=True,
                activation_type=ort.QuantType.QUInt8,
                weight_type=ort.QuantType.QInt8,
                calibrate_method=ort.CalibrationMethod.MinMax,
            )
            model = onnx.load(quantized)
            model.model_version = job.graph.model_version
            return model


def _in_half(graph: Any) -> Any:
    """Return a graph that computes in float16; what goes in and comes out keeps its type."""
    float16 = import_optional("onnxruntime.transformers.float16", "ilk[onnx]")
    onnx = import_optional("onnx", "ilk[onnx]")
    copied = onnx.ModelProto()
    copied.CopyFrom(graph)
    with quiet_converter("ONNX Runtime"):
        return float16.convert_float_to_float16(copied, keep_io_types=True)


class _CalibrationReader:
    """ONNX Runtime's interface for calibration data."""

    def __init__(self, batches: list[Pixels]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Pixels] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


class OnnxRuntimeEngine(ChunkedEngine):
    """Runs an ``.onnx`` file by ONNX Runtime on the CPU."""

    def __init__(self, path: Path) -> None:
        onnxruntime = import_optional("onnxruntime", "ilk[onnx]")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        options.log_severity_level = 3
        # From memory, so that the graph cannot refer to a file beside it.
        self._session = onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        self.name = f"onnxruntime-{onnxruntime.__version__}"

    def run_chunk(self, pixels: Pixels) -> list[Floats]:
        result: list[Floats] = self._session.run(OUTPUTS, {INPUT: pixels})
        return result


def save_model(model: Any, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a ``ModelProto`` with metadata."""
    onnx = import_optional("onnx", "ilk[onnx]")
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    path.write_bytes(model.SerializeToString())


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of an ``.onnx`` file, after checks that make it safe to run.

    Raises
    ------
    ModelError
        It is no ONNX file, keeps weights outside of it, or uses non-standard operators.
    """
    onnx = import_optional("onnx", "ilk[onnx]")
    name = escaped(path)
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError comes from several packages
        raise ModelError(
            f"{name} is not a complete ONNX file ({error_text(error)}). Export it again."
        ) from None
    if any(t.external_data or t.data_location for t in _tensors(model.graph)):
        raise ModelError(
            f"{name} keeps weights in other files, which could be any file on this machine. Export "
            "it with its weights inside."
        )
    nodes = [node for node in _nodes(model.graph) if node.domain not in STANDARD_DOMAINS]
    custom = {f"{node.domain}.{node.op_type}" for node in nodes}
    if custom or model.functions:
        raise ModelError(
            f"{name} uses operators that are not part of ONNX: {join_limited(sorted(custom))}. "
            "Export it again."
        )
    return {entry.key: entry.value for entry in model.metadata_props}


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield all nodes of a graph and its subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield all tensors of a graph, its nodes and its subgraphs."""
    sparse = list(graph.sparse_initializer)
    yield from graph.initializer
    for attribute in (a for node in graph.node for a in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
        for inner in (attribute.g, *attribute.graphs):
            yield from _tensors(inner)
    for tensor in sparse:
        yield from (tensor.values, tensor.indices)
