"""The LiteRT engine: runs an exported ``.tflite`` file, as a phone would, on this machine."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from threading import Lock

import numpy as np

from ilk.arrays import Floats, Pixels
from ilk.engines.needs import needed
from ilk.engines.pieces import PieceEngine
from ilk.runtime import cores
from ilk.spec import Spec


class LiteRTEngine(PieceEngine):
    """Runs a ``.tflite`` file, one picture at a time, as it was exported.

    Parameters
    ----------
    path : Path
    spec : Spec
    """

    piece = most = 1

    def __init__(self, path: Path, spec: Spec) -> None:
        interpreter = needed("ai_edge_litert.interpreter", "ai-edge-litert")
        # From memory: of a path, a file that grew too short would end the process.
        self._network = interpreter.Interpreter(
            model_content=path.read_bytes(), num_threads=cores()
        )
        self._network.allocate_tensors()
        self._input = self._network.get_input_details()[0]["index"]
        self._outputs = [put["index"] for put in self._network.get_output_details()]
        self._lock = Lock()
        self.name = f"litert-{version('ai-edge-litert')}"

    def run_piece(self, pixels: Pixels) -> list[Floats]:
        """Return probabilities, logits and features: the converter keeps their order."""
        with self._lock:
            self._network.set_tensor(self._input, pixels.astype(np.float32))
            self._network.invoke()
            return [self._network.get_tensor(index) for index in self._outputs]
