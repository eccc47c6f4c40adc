"""The ExecuTorch engine: runs an exported ``.pte`` file, as a phone would, on this machine."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path
from threading import Lock

from ilk.arrays import Floats, Pixels
from ilk.engines.needs import needed_quietly, quiet_stderr
from ilk.engines.pieces import PieceEngine
from ilk.errors import ModelError
from ilk.spec import Spec
from ilk.text import escaped

MAGIC = b"ET12"


class ExecuTorchEngine(PieceEngine):
    """Runs a ``.pte`` file, whose memory is planned for so many pictures at most.

    Parameters
    ----------
    path : Path
    spec : Spec
    """

    def __init__(self, path: Path, spec: Spec) -> None:
        with path.open("rb") as file:
            if file.read(8)[4:] != MAGIC:
                raise ModelError(f"{escaped(path)} is not an ExecuTorch file. Export it again.")
        with warnings.catch_warnings(), quiet_stderr():
            warnings.simplefilter("ignore")  # of being experimental, said by an import within
            runtime = needed_quietly("executorch.runtime", "ilk[executorch]").Runtime.get()
            self._program = runtime.load_program(path)
            self._method = self._program.load_method("forward")
        self.most = self._method.metadata.input_tensor_meta(0).sizes()[0]
        self._lock = Lock()
        self.name = f"executorch-{version('executorch')}"

    def run_piece(self, pixels: Pixels) -> list[Floats]:
        """Return probabilities, logits and features."""
        import torch

        with self._lock:
            outputs = self._method.execute([torch.from_numpy(pixels)])
            return [output.numpy().copy() for output in outputs]
