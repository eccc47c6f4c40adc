"""The TensorRT engine: runs an exported ``.engine`` file on an NVIDIA GPU."""

from __future__ import annotations

import zipfile
from pathlib import Path
from threading import Lock

import numpy as np

from ilk.arrays import Floats, Pixels
from ilk.engines.needs import needed
from ilk.engines.pieces import PieceEngine
from ilk.errors import ModelError
from ilk.models.metadata import INPUT, OUTPUTS
from ilk.spec import Spec
from ilk.text import escaped


class TensorRTEngine(PieceEngine):
    """Runs an ``.engine`` file; torch holds the memory on the GPU.

    Parameters
    ----------
    path : Path
    spec : Spec
    """

    piece = most = 32

    def __init__(self, path: Path, spec: Spec) -> None:
        tensorrt = needed("tensorrt", "tensorrt")
        runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
        self._engine = runtime.deserialize_cuda_engine(_without_trailer(path))
        if self._engine is None:
            raise ModelError(
                f"TensorRT cannot load {escaped(path)}: an engine runs on the kind of GPU, and by "
                "the version of TensorRT, that it was built with. Export it again here."
            )
        self._context = self._engine.create_execution_context()
        widths = (len(spec.classes), len(spec.classes), spec.backbone.features)
        self._widths = dict(zip(OUTPUTS, widths, strict=True))
        self._lock = Lock()
        self.name = f"tensorrt-{tensorrt.__version__}"

    def run_piece(self, pixels: Pixels) -> list[Floats]:
        """Return probabilities, logits and features."""
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


def _without_trailer(path: Path) -> bytes:
    """Return the bytes before the zip that holds the metadata."""
    with zipfile.ZipFile(path) as archive:
        start = min(info.header_offset for info in archive.infolist())
    with path.open("rb") as file:
        return file.read(start)
