"""Formats: what a model can be exported to, and what each must hold to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ilk.exporting.job import Job

USE = "ilk predict {path} PICTURES"
TRUSTED = f"{USE} --trust"


@dataclass(frozen=True)
class Format:
    """A form that a model can take.

    Attributes
    ----------
    name : str
    ending : str
        Of the file's or folder's name.
    writer : str
        The module of `ilk.exporting` that writes it.
    converter, saver : str
        Its functions.
    exact : bool
        Whether it computes in float32, and so must agree in each probability.
    calibrated : bool
        Whether it needs pictures to be quantised by.
    public : bool
        Whether it is made to be published: then it tells nothing of the training.
    use : str
        What to do with it, in words; ``{path}`` stands for where it lies.
    """

    name: str
    ending: str
    writer: str
    exact: bool = True
    calibrated: bool = False
    public: bool = False
    use: str = USE
    converter: str = "convert"
    saver: str = "save"

    def refuse_missing(self) -> None:
        """Refuse what can be known to fail before any work is done.

        Raises
        ------
        EngineError, ExportError
            What converts is not installed, or this machine is not the one for it.
        """
        getattr(self._module, "refuse_missing", lambda: None)()

    def convert(self, job: Job) -> Any:
        """Turn a network into the format, in memory: the slow part."""
        return getattr(self._module, self.converter)(job)

    def save(self, converted: Any, path: Path, metadata: Mapping[str, str]) -> None:
        """Write what `convert` returned: the quick part."""
        getattr(self._module, self.saver)(converted, path, metadata)

    @property
    def _module(self) -> Any:
        return import_module(f"ilk.exporting.{self.writer}")


def _int8(name: str, ending: str, writer: str) -> Format:
    return Format(name, ending, writer, exact=False, calibrated=True, converter="convert_int8")


FORMATS = {
    f.name: f
    for f in (
        Format("onnx", ".onnx", "onnx"),
        _int8("onnx-int8", "-int8.onnx", "onnx"),
        Format("openvino", "-openvino", "openvino"),
        Format("openvino-bf16", "-openvino-bf16", "openvino", exact=False,
               converter="convert_bf16"),
        _int8("openvino-int8", "-openvino-int8", "openvino"),
        Format("torchscript", ".torchscript", "torchscript", use=TRUSTED),
        Format("torch", ".pt2", "torch_export", use=TRUSTED),
        Format("torch-aot", "-aot.pt2", "torch_export", converter="convert_compiled",
               saver="save_compiled", use=TRUSTED),
        Format("torch-int8", "-int8.pt2", "torch_export", exact=False, converter="convert_int8",
               use=TRUSTED),
        Format("executorch", ".pte", "executorch"),
        _int8("executorch-int8", "-int8.pte", "executorch"),
        Format("coreml", ".mlpackage", "coreml", exact=False,
               use="drag {path} into an Xcode project"),
        Format("litert", ".tflite", "litert"),
        Format("tensorrt", ".engine", "tensorrt", exact=False, use=TRUSTED),
        Format("web", "-web", "web", public=True,
               use="python -m http.server -d {path}; the page cannot tell unknown pictures"),
    )
}  # fmt: skip
