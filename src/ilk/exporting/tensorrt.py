"""TensorRT: an engine for the NVIDIA GPU of this machine, by way of ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ilk.engines.needs import needed
from ilk.engines.trailer import with_trailer
from ilk.errors import ExportError
from ilk.exporting.job import Job
from ilk.exporting.trouble import trouble
from ilk.models.metadata import INPUT

BATCHES = (1, 8, 32)  # the least, the usual, the most pictures at once
LATER = (
    "'ilk export MODEL --format onnx' here, then on a machine with the GPU: "
    "trtexec --onnx=model.onnx --saveEngine=model.plan --fp16 "
    "--minShapes=pixels:1xSxSx3 --optShapes=pixels:8xSxSx3 "
    "--maxShapes=pixels:32xSxSx3, where S is the input size, most often 224"
)


def refuse_missing() -> None:
    """Refuse a machine without an NVIDIA GPU, or without TensorRT.

    Raises
    ------
    ExportError, EngineError
    """
    if not (Path("/dev/nvidia0").exists() or Path("/dev/dxg").exists()):
        raise ExportError(
            "A TensorRT engine is built on the NVIDIA GPU that it is for, and there is none here. "
            f"Do {LATER}"
        )
    needed("tensorrt", "tensorrt")


def convert(job: Job) -> bytes:
    """Return the network as a TensorRT engine, in half precision where that is faster."""
    side = job.bundle.spec.preprocess.imgsz
    graph = job.graph.SerializeToString()
    with trouble("TensorRT"):
        return _built(graph, side)


def _built(graph: bytes, side: int) -> bytes:
    import tensorrt

    builder = tensorrt.Builder(tensorrt.Logger(tensorrt.Logger.ERROR))
    network = builder.create_network()
    parser = tensorrt.OnnxParser(network, builder.logger)
    if not parser.parse(graph):
        raise ExportError(f"TensorRT cannot take this network: {parser.get_error(0)}")
    config = builder.create_builder_config()
    config.set_flag(tensorrt.BuilderFlag.FP16)
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, *((n, side, side, 3) for n in BATCHES))
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ExportError("TensorRT cannot build an engine of this network.")
    return bytes(engine)


def save(engine: bytes, path: Path, metadata: Mapping[str, str]) -> None:
    """Write it, with the metadata behind it."""
    path.write_bytes(with_trailer(engine, metadata))
