"""The engine for exported OpenVINO models: a folder with ``model.xml`` and ``model.bin``."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from ilk.arrays import Floats, Pixels
from ilk.engines.base import Precision
from ilk.engines.compiled import LANES, Compiled, precision_hint
from ilk.engines.openvino import import_openvino, precision_here
from ilk.engines.pieces import PieceEngine
from ilk.errors import ModelError
from ilk.models.metadata import OUTPUTS, PRECISION_KEY
from ilk.spec import Spec
from ilk.text import error_text, escaped

FILE = "model.xml"


class OpenVINOFileEngine(PieceEngine):
    """Runs an exported OpenVINO model.

    Parameters
    ----------
    path : Path
        The folder.
    spec : Spec
    precision : {"auto", "fp32", "bf16"}
        ``auto``: as it was exported.
    """

    lanes = LANES

    def __init__(self, path: Path, spec: Spec, precision: Precision = "auto") -> None:
        openvino = import_openvino()
        self._core = openvino.Core()
        self._core.set_property({"ENABLE_MMAP": False})  # the file may be replaced meanwhile
        self._path = path
        model = _read(self._core, path)
        exact = _texts(model).get(PRECISION_KEY) != "bf16"
        # A file that was exported to round asks for bf16; not every processor has it.
        wanted = "fp32" if precision == "auto" and exact else precision
        self._precision = precision_here(self._core, wanted)
        self.name = f"openvino-{openvino.get_version().split('-')[0]}-{self._precision}"
        self._compiled = Compiled(self._core, model, spec.preprocess.imgsz, self._precision)

    def run_freely(self, pixels: Pixels) -> list[Floats]:
        """Run pictures as is fastest here: each by itself."""
        return self._compiled.run(pixels)

    def run_piece(self, pixels: Pixels) -> list[Floats]:
        """Return probabilities, logits and features of pictures that are run at once."""
        request = self._any.create_infer_request()
        outputs = request.infer([pixels])
        return [outputs[name].copy() for name in OUTPUTS]

    @cached_property
    def _any(self) -> Any:
        """The network for any number of pictures at once, as other programs may run the file."""
        settings = {"INFERENCE_PRECISION_HINT": precision_hint(self._precision)}
        return self._core.compile_model(_read(self._core, self._path), "CPU", settings)


def metadata_of(path: Path) -> dict[str, str]:
    """Return what stands in the ``rt_info`` of an exported model. Nothing of it is run.

    Raises
    ------
    ModelError
        It is no OpenVINO model.
    """
    return _texts(_read(import_openvino().Core(), path))


def _read(core: Any, path: Path) -> Any:
    try:
        return core.read_model(path / FILE)
    except RuntimeError as error:
        raise ModelError(
            f"{escaped(path)} is not a whole OpenVINO model ({error_text(error)}). Export it again."
        ) from None


def _texts(model: Any) -> dict[str, str]:
    if not model.has_rt_info(["ilk"]):
        return {}
    keys = model.get_rt_info(["ilk"]).value
    return {f"ilk.{key}": model.get_rt_info(["ilk", key]).astype(str) for key in keys}
