"""PyTorch's own formats: TorchScript, ``torch.export``, with int8 linear layers, and compiled.

All of them can hold code that runs on load. Their metadata is read without torch; the rest only if
the user trusts the file.
"""

from __future__ import annotations

import io
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ilk.arrays import Floats, Pixels
from ilk.engines.base import ChunkedEngine, Precision
from ilk.formats.base import PREDICT_TRUSTED, Format
from ilk.formats.graphs import ExportJob, exported_program
from ilk.formats.libraries import import_optional, quiet_converter
from ilk.runtime import installed
from ilk.spec import Spec


class TorchScript(Format):
    """A frozen trace. PyTorch has deprecated TorchScript, and still runs it."""

    name = "torchscript"
    suffix = ".torchscript"
    aliases = ("pt",)
    noun = "a TorchScript file"
    runs_code = True
    use = PREDICT_TRUSTED

    def convert(self, job: ExportJob) -> Any:
        return job.script

    def save(self, converted: Any, path: Path, metadata: Mapping[str, str]) -> None:
        import torch

        file = io.BytesIO()  # if torch wrote to a full disk itself, it would end the process
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(converted, file, _extra_files=dict(metadata))
        path.write_bytes(file.getbuffer())

    def open(self, path: Path, spec: Spec, precision: Precision = "auto") -> ChunkedEngine:
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated
            return TorchFileEngine(torch.jit.load(str(path), map_location="cpu"), "torchscript")


class _Pt2(Format):
    noun = "a torch.export file"
    runs_code = True
    use = PREDICT_TRUSTED

    def save(self, converted: Any, path: Path, metadata: Mapping[str, str]) -> None:
        import torch

        file = io.BytesIO()  # if torch wrote to a full disk itself, it would end the process
        torch.export.save(converted, file, extra_files=dict(metadata))
        path.write_bytes(file.getbuffer())

    def open(self, path: Path, spec: Spec, precision: Precision = "auto") -> ChunkedEngine:
        import torch

        with zipfile.ZipFile(path) as archive:
            compiled = any("/aotinductor/" in name for name in archive.namelist())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if compiled:
                package = torch._inductor.aoti_load_package(str(path))
                return TorchFileEngine(package, "inductor")
            if installed("torchao"):  # defines the int8 tensors
                import_optional("torchao", "ilk[torchao]")
            return TorchFileEngine(torch.export.load(path).module(), "export")


class TorchExport(_Pt2):
    """The network as ``torch.export`` captures it."""

    name = "torch"
    suffix = ".pt2"
    aliases = ("torch.export",)

    def convert(self, job: ExportJob) -> Any:
        return job.program


class TorchAot(_Pt2):
    """Compiled by AOTInductor for processors like this one; needs a C++ compiler."""

    name = "torch-aot"
    suffix = "-aot.pt2"
    speed_rank = 7

    def convert(self, job: ExportJob) -> bytes:
        import torch

        with tempfile.TemporaryDirectory() as folder, quiet_converter("AOTInductor"):
            path = Path(folder) / "model.pt2"
            with torch.no_grad():
                torch._inductor.aoti_compile_and_package(job.program, package_path=str(path))
            return path.read_bytes()

    def save(self, converted: bytes, path: Path, metadata: Mapping[str, str]) -> None:
        path.write_bytes(converted)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
            root = archive.namelist()[0].partition("/")[0]
            for name, text in metadata.items():
                archive.writestr(f"{root}/extra/{name}", text)


class TorchInt8(_Pt2):
    """Dynamic int8 of linear layers by torchao: weights ahead of time, activations on the fly.

    Convolutions stay in float32. This suits networks whose weights are mostly in linear layers,
    such as VGG and ViT.
    """

    name = "torch-int8"
    suffix = "-int8.pt2"
    exact = False
    requires = (("torchao", "ilk[torchao]"),)
    packages = ("torchao",)

    def convert(self, job: ExportJob) -> Any:
        quantization = import_optional("torchao.quantization", "ilk[torchao]")
        utils = import_optional("torchao.utils", "ilk[torchao]")
        from ilk.formats.exportable import exportable

        with quiet_converter("torchao"):
            network = exportable(job.bundle)  # not the job's: it is changed in place
            quantization.quantize_(network, quantization.Int8DynamicActivationInt8WeightConfig())
            return exported_program(utils.unwrap_tensor_subclass(network), job.example)


class TorchFileEngine(ChunkedEngine):
    """Runs a loaded TorchScript, ``torch.export`` or AOTInductor network on the CPU."""

    def __init__(self, network: Any, kind: str) -> None:
        import torch

        self._network = network
        self.name = f"pytorch-{torch.__version__}-{kind}"

    def run_chunk(self, pixels: Pixels) -> list[Floats]:
        import torch

        with torch.inference_mode():
            return [output.numpy() for output in self._network(torch.from_numpy(pixels))]
