"""OpenVINO: graphs for Intel's and other x86 and ARM processors; in float32, bf16 or int8."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ilk.engines.openvino import has_bf16, import_openvino
from ilk.errors import ExportError
from ilk.exporting.job import Job
from ilk.exporting.trouble import trouble
from ilk.models.metadata import INPUT, OUTPUTS, PRECISION_KEY


def convert(job: Job, precision: str = "fp32") -> Any:
    """Return the network as an OpenVINO model that asks to be computed in float32."""
    openvino = import_openvino()
    side = job.bundle.spec.preprocess.imgsz
    shape = openvino.PartialShape([-1, side, side, 3])
    with trouble("OpenVINO"):
        model = openvino.convert_model(job.script, input=[(shape, openvino.Type.u8)])
    model.inputs[0].get_tensor().set_names({INPUT})
    for output, name in zip(model.outputs, OUTPUTS, strict=True):
        output.get_tensor().set_names({name})
    model.set_rt_info(precision, ["ilk", PRECISION_KEY.removeprefix("ilk.")])
    return model


def convert_bf16(job: Job) -> Any:
    """Return it as a model that asks to be computed in bf16.

    Raises
    ------
    ExportError
        This processor has no bf16, so nothing could be verified.
    """
    if not has_bf16(import_openvino().Core()):
        raise ExportError("This processor has no bf16, so the file could not be verified here.")
    return convert(job, "bf16")


def convert_int8(job: Job) -> Any:
    """Return it in int8; what stays in floating point is in bf16 where the processor has it."""
    from ilk.exporting.int8 import quantised

    return quantised(convert(job, "bf16"), job)


def save(model: Any, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a folder with ``model.xml`` and ``model.bin``."""
    openvino = import_openvino()
    for key, text in metadata.items():
        model.set_rt_info(text, ["ilk", key.removeprefix("ilk.")])
    path.mkdir(exist_ok=True)
    openvino.save_model(model, path / "model.xml", compress_to_fp16=False)
