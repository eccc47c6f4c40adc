"""LiteRT, formerly TensorFlow Lite: for Android and small devices, one picture at a time.

The converter supports no uint8: the file takes raw pixels as float32 in 0..255. Its pinned
dependencies conflict with those of other formats, so it needs an environment of its own.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path
from threading import Lock

import numpy as np

from ilk.arrays import Floats, Pixels
from ilk.engines.base import ChunkedEngine, Precision
from ilk.errors import ExportError
from ilk.formats.base import Format
from ilk.formats.graphs import ExportJob
from ilk.formats.libraries import import_optional, quiet_converter
from ilk.runtime import cores, installed
from ilk.spec import Spec

OWN_ENVIRONMENT = (
    "LiteRT's converter needs an environment of its own: python -m venv litert && "
    "litert/bin/pip install torch==2.13.0 litert-torch==0.9.4 && litert/bin/pip install . && "
    "litert/bin/ilk export MODEL --format litert"
)


class LiteRT(Format):
    """A ``.tflite`` file, with the metadata where TensorFlow Lite keeps associated files."""

    name = "litert"
    suffix = ".tflite"
    aliases = ("tflite",)
    noun = "a LiteRT file"
    packages = ("litert-torch", "ai-edge-litert")

    def check_requirements(self) -> None:
        if not installed("litert_torch"):
            raise ExportError(OWN_ENVIRONMENT)

    def convert(self, job: ExportJob) -> bytes:
        with quiet_converter("LiteRT's converter"):
            litert_torch = import_optional("litert_torch", "litert-torch")
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.tflite"
                litert_torch.convert(job.network, (job.example[:1].float(),)).export(str(path))
                return path.read_bytes()

    def open(self, path: Path, spec: Spec, precision: Precision = "auto") -> ChunkedEngine:
        return LiteRTEngine(path)


class LiteRTEngine(ChunkedEngine):
    """Runs a ``.tflite`` file as a phone would."""

    chunk = max_batch = 1

    def __init__(self, path: Path) -> None:
        interpreter = import_optional("ai_edge_litert.interpreter", "ai-edge-litert")
        # From memory: given the path of a truncated file, it would end the process.
        self._network = interpreter.Interpreter(
            model_content=path.read_bytes(), num_threads=cores()
        )
        self._network.allocate_tensors()
        self._input = self._network.get_input_details()[0]["index"]
        self._outputs = [entry["index"] for entry in self._network.get_output_details()]
        self._lock = Lock()
        self.name = f"litert-{version('ai-edge-litert')}"

    def run_chunk(self, pixels: Pixels) -> list[Floats]:
        with self._lock:
            self._network.set_tensor(self._input, pixels.astype(np.float32))
            self._network.invoke()
            return [self._network.get_tensor(index) for index in self._outputs]  # in export order
