"""``torch.export``: PyTorch's own graphs; as they are, with int8 linear layers, or compiled."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ilk.engines.needs import needed_quietly
from ilk.exporting.job import Job
from ilk.exporting.trouble import trouble


def convert(job: Job) -> Any:
    """Return the network as an ExportedProgram."""
    return job.program


def convert_int8(job: Job) -> Any:
    """Return it with linear layers in int8: weights ahead, activations as they come.

    The guide's dynamic quantisation, by torchao, which follows ``torch.ao``. Convolutions stay in
    float32: it helps networks whose weights are mostly in linear layers, such as VGG and ViT.
    """
    needed_quietly("torchao", "ilk[torchao]")
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    from torchao.utils import unwrap_tensor_subclass

    from ilk.exporting.programs import exported
    from ilk.models.exportable import exportable

    with trouble("torchao"):
        network = exportable(job.bundle)  # changed in place
        quantize_(network, Int8DynamicActivationInt8WeightConfig())
        return exported(unwrap_tensor_subclass(network), job.example)


def save(program: Any, path: Path, metadata: Mapping[str, str]) -> None:
    """Write it."""
    import torch

    file = io.BytesIO()  # written by torch itself, a full disk would end the process
    torch.export.save(program, file, extra_files=dict(metadata))
    path.write_bytes(file.getbuffer())


def convert_compiled(job: Job) -> bytes:
    """Return it compiled for processors like this one, by AOTInductor; needs a C++ compiler."""
    import torch

    with tempfile.TemporaryDirectory() as folder, trouble("AOTInductor"):
        path = Path(folder) / "model.pt2"
        with torch.no_grad():
            torch._inductor.aoti_compile_and_package(job.program, package_path=str(path))
        return path.read_bytes()


def save_compiled(package: bytes, path: Path, metadata: Mapping[str, str]) -> None:
    """Write it, with the metadata as further entries of its zip."""
    path.write_bytes(package)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        root = archive.namelist()[0].partition("/")[0]
        for name, text in metadata.items():
            archive.writestr(f"{root}/extra/{name}", text)
