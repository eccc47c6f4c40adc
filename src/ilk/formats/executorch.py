"""ExecuTorch: for Android and iOS, on their CPUs by XNNPACK; in float32 or int8."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

from ilk.arrays import Floats, Pixels
from ilk.engines.base import ChunkedEngine, Precision
from ilk.errors import ModelError
from ilk.formats.base import Format
from ilk.formats.graphs import MAX_BATCH, ExportJob, exported_program
from ilk.formats.libraries import import_optional, quiet_converter, quiet_stderr
from ilk.spec import Spec
from ilk.text import escaped

EXTRA = "ilk[executorch]"
XNNPACK = "executorch.backends.xnnpack"
MAGIC = b"ET12"


class _Pte(Format):
    noun = "an ExecuTorch file"
    requires = (("executorch", EXTRA),)
    packages = ("executorch",)

    def open(self, path: Path, spec: Spec, precision: Precision = "auto") -> ChunkedEngine:
        return ExecuTorchEngine(path)


class ExecuTorch(_Pte):
    """The network in float32."""

    name = "executorch"
    suffix = ".pte"
    aliases = ("pte",)

    def convert(self, job: ExportJob) -> bytes:
        import_optional("executorch.exir", EXTRA)
        return _lowered(exported_program(job.network, job.example, MAX_BATCH))


class ExecuTorchInt8(_Pte):
    """Static int8: weights by channel, activations by their range on training pictures."""

    name = "executorch-int8"
    suffix = "-int8.pte"
    exact = False
    calibrated = True
    speed_rank = 8
    size_rank = 3
    search_requires = "executorch"

    def convert(self, job: ExportJob) -> bytes:
        import torch

        import_optional("executorch.exir", EXTRA)
        xnnpack = import_optional(f"{XNNPACK}.quantizer.xnnpack_quantizer", EXTRA)
        pt2e = import_optional("torchao.quantization.pt2e.quantize_pt2e", EXTRA)
        config = xnnpack.get_symmetric_quantization_config(is_per_channel=True)
        quantizer = xnnpack.XNNPACKQuantizer().set_global(config)
        program = exported_program(job.network, job.example, MAX_BATCH)
        with torch.no_grad(), quiet_converter("ExecuTorch's quantizer"):
            prepared = pt2e.prepare_pt2e(program.module(), quantizer)
            for pixels in job.batches(8):
                prepared(torch.from_numpy(pixels))
            small = pt2e.convert_pt2e(prepared)
        return _lowered(exported_program(small, job.example, MAX_BATCH))


def _lowered(program: Any) -> bytes:
    """Delegate as much of a program to XNNPACK as it supports."""
    partition = import_optional(f"{XNNPACK}.partition.xnnpack_partitioner", EXTRA)
    exir = import_optional("executorch.exir", EXTRA)
    with quiet_converter("ExecuTorch"):
        lowered = exir.to_edge_transform_and_lower(
            program, partitioner=[partition.XnnpackPartitioner()]
        )
        return bytes(lowered.to_executorch().buffer)


class ExecuTorchEngine(ChunkedEngine):
    """Runs a ``.pte`` file as a phone would; its planned memory limits the batch size."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            if file.read(8)[4:] != MAGIC:
                raise ModelError(f"{escaped(path)} is not an ExecuTorch file. Export it again.")
        with warnings.catch_warnings(), quiet_stderr():
            warnings.simplefilter("ignore")  # an inner import warns that it is experimental
            runtime = import_optional("executorch.runtime", EXTRA).Runtime.get()
            self._program = runtime.load_program(path)
            self._method = self._program.load_method("forward")
        self.max_batch = self._method.metadata.input_tensor_meta(0).sizes()[0]
        self._lock = Lock()
        self.name = f"executorch-{version('executorch')}"

    def run_chunk(self, pixels: Pixels) -> list[Floats]:
        import torch

        with self._lock:
            outputs = self._method.execute([torch.from_numpy(pixels)])
            return [output.numpy().copy() for output in outputs]
