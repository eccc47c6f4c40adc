"""The ONNX Runtime engine: runs an exported ``.onnx`` file on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ilk.arrays import Floats, Pixels
from ilk.engines.needs import needed
from ilk.engines.pieces import PieceEngine
from ilk.errors import ModelError
from ilk.models.metadata import INPUT, OUTPUTS
from ilk.runtime import cores
from ilk.spec import Spec
from ilk.text import error_text, escaped, join_limited

STANDARD = {"", "ai.onnx"}  # domains of operators


class ONNXRuntimeEngine(PieceEngine):
    """Runs an ``.onnx`` file.

    Parameters
    ----------
    path : Path
    spec : Spec
    """

    def __init__(self, path: Path, spec: Spec) -> None:
        onnxruntime = needed("onnxruntime", "ilk[onnx]")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        options.log_severity_level = 3
        # From memory: then no file beside it can be meant.
        self._session = onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        self.name = f"onnxruntime-{onnxruntime.__version__}"

    def run_piece(self, pixels: Pixels) -> list[Floats]:
        """Return probabilities, logits and features."""
        result: list[Floats] = self._session.run(OUTPUTS, {INPUT: pixels})
        return result


def metadata_of(path: Path) -> dict[str, str]:
    """Return what stands in the metadata of an ``.onnx`` file. Nothing of it is run.

    Raises
    ------
    ModelError
        It is no ONNX file, keeps weights outside of it, or asks for operators of someone's own.
    """
    onnx = needed("onnx", "ilk[onnx]")
    name = escaped(path)
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError is of several packages
        raise ModelError(
            f"{name} is not a whole ONNX file ({error_text(error)}). Export it again."
        ) from None
    if any(t.external_data or t.data_location for t in _tensors(model.graph)):
        raise ModelError(
            f"{name} keeps weights in other files, which could be any file of this machine. Export "
            "it with its weights inside."
        )
    nodes = [node for node in _nodes(model.graph) if node.domain not in STANDARD]
    own = {f"{node.domain}.{node.op_type}" for node in nodes}
    if own or model.functions:
        raise ModelError(
            f"{name} asks for operators that are not ONNX's own: {join_limited(sorted(own))}. "
            "Export it again."
        )
    return {entry.key: entry.value for entry in model.metadata_props}


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield all nodes of a graph, those of the graphs within it too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield all tensors of a graph, those of its nodes and of the graphs within it too."""
    sparse = list(graph.sparse_initializer)
    yield from graph.initializer
    for attribute in (a for node in graph.node for a in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
        for inner in (attribute.g, *attribute.graphs):
            yield from _tensors(inner)
    for tensor in sparse:
        yield from (tensor.values, tensor.indices)
