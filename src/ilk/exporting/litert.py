"""LiteRT, once TensorFlow Lite: for Android and small devices, one picture at a time.

The converter knows no uint8: the file takes pixels as float32, still raw, in 0..255. Its pins clash
with those of others: it wants an environment of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from ilk.engines.trailer import with_trailer
from ilk.errors import ExportError
from ilk.exporting.job import Job
from ilk.exporting.trouble import trouble
from ilk.runtime import installed

APART = (
    "LiteRT's converter wants an environment of its own: python -m venv litert && "
    "litert/bin/pip install torch==2.13.0 litert-torch==0.9.4 && litert/bin/pip install . && "
    "litert/bin/ilk export MODEL --format litert"
)


def refuse_missing() -> None:
    """Refuse where the converter is not installed.

    Raises
    ------
    ExportError
    """
    if not installed("litert_torch"):
        raise ExportError(APART)


def convert(job: Job) -> bytes:
    """Return the network as the bytes of a ``.tflite`` file."""
    with trouble("LiteRT's converter"):
        import litert_torch

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tflite"
            litert_torch.convert(job.network, (job.example[:1].float(),)).export(str(path))
            return path.read_bytes()


def save(network: bytes, path: Path, metadata: Mapping[str, str]) -> None:
    """Write it, with the metadata behind it, where TensorFlow Lite keeps a model's files."""
    path.write_bytes(with_trailer(network, metadata))
