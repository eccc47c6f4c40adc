"""TensorRT: an engine built for the NVIDIA GPU of this machine, by way of ONNX."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

import numpy as np

from ilk.arrays import Floats, Pixels
from ilk.engines.base import ChunkedEngine, Precision
from ilk.errors import ExportError, ModelError
from ilk.formats.base import PREDICT_TRUSTED, Format
from ilk.formats.footer import without_footer
from ilk.formats.graphs import MAX_BATCH, ONNX_EXPORT, ExportJob
from ilk.formats.libraries import import_optional, quiet_converter
from ilk.models.metadata import INPUT, OUTPUTS
from ilk.spec import Spec
from ilk.text import escaped

BATCHES = (1, 8, MAX_BATCH)  # the smallest, the usual and the largest
BY_TRTEXEC = (
    "run 'ilk export MODEL --format onnx' here, then on the machine with the GPU: "
    "trtexec --onnx=model.onnx --saveEngine=model.plan --fp16 "
    "--minShapes=pixels:1xSxSx3 --optShapes=pixels:8xSxSx3 "
    "--maxShapes=pixels:32xSxSx3, where S is the input size, usually 224"
)


class TensorRT(Format):
    """An ``.engine`` file, in half precision where that is faster."""

    name = "tensorrt"
    suffix = ".engine"
    aliases = ("engine",)
    noun = "a TensorRT engine"
    exact = False
    runs_code = True
    requires = (("tensorrt", "tensorrt"), *ONNX_EXPORT)
    packages = ("tensorrt",)
    use = PREDICT_TRUSTED
    speed_rank = 1
    search_requires = "tensorrt"

    def check_requirements(self) -> None:
        if not (Path("/dev/nvidia0").exists() or Path("/dev/dxg").exists()):
            raise ExportError(
                "A TensorRT engine is built on the NVIDIA GPU that it will run on, and this "
                f"machine has none. Instead, {BY_TRTEXEC}"
            )
        super().check_requirements()

    def convert(self, job: ExportJob) -> bytes:
        graph, side = job.graph.SerializeToString(), job.bundle.spec.preprocess.imgsz
        tensorrt = import_optional("tensorrt", "tensorrt")
        with quiet_converter("TensorRT"):
            builder = tensorrt.Builder(tensorrt.Logger(tensorrt.Logger.ERROR))
            network = builder.create_network()
            parser = tensorrt.OnnxParser(network, builder.logger)
            if not parser.parse(graph):
                raise ExportError(f"TensorRT cannot convert this network: {parser.get_error(0)}")
            config = builder.create_builder_config()
            config.set_flag(tensorrt.BuilderFlag.FP16)
            profile = builder.create_optimization_profile()
            profile.set_shape(INPUT, *((n, side, side, 3) for n in BATCHES))
            config.add_optimization_profile(profile)
            engine = builder.build_serialized_network(network, config)
            if engine is None:
                raise ExportError("TensorRT cannot build an engine of this network.")
            return bytes(engine)

    def open(self, path: Path, spec: Spec, precision: Precision = "auto") -> ChunkedEngine:
        return TensorRTEngine(path, spec)


class TensorRTEngine(ChunkedEngine):
    """Runs an ``.engine`` file on an NVIDIA GPU; torch manages the GPU's memory."""

    chunk = max_batch = MAX_BATCH

    def __init__(self, path: Path, spec: Spec) -> None:
        tensorrt = import_optional("tensorrt", "tensorrt")
        runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
        self._engine = runtime.deserialize_cuda_engine(without_footer(path))
        if self._engine is None:
            raise ModelError(
                f"TensorRT cannot load {escaped(path)}: an engine runs only on the GPU model, and "
                "in the TensorRT version, that it was built with. Export it again on this machine."
            )
        self._context = self._engine.create_execution_context()
        widths = (len(spec.classes), len(spec.classes), spec.backbone.features)
        self._widths = dict(zip(OUTPUTS, widths, strict=True))
        self._lock = Lock()
        self.name = f"tensorrt-{tensorrt.__version__}"

    def run_chunk(self, pixels: Pixels) -> list[Floats]:
        import torch

        with self._lock:
            batch = torch.from_numpy(pixels).cuda()
            self._context.set_input_shape(INPUT, tuple(batch.shape))
            self._context.set_tensor_address(INPUT, batch.data_ptr())
            outputs = {
                name: torch.empty((len(pixels), width), device="cuda")
                for name, width in self._widths.items()
            }
            for name, output in outputs.items():
                self._context.set_tensor_address(name, output.data_ptr())
            stream = torch.cuda.current_stream()
            self._context.execute_async_v3(stream.cuda_stream)
            stream.synchronize()
            return [np.asarray(outputs[name].cpu()) for name in OUTPUTS]
