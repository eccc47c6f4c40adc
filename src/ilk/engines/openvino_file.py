"""The engine for exported OpenVINO models: a folder with ``model.xml`` and ``model.bin``."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from ilk.data.catalog import Pixels
from ilk.engines.base import Floats, Precision
from ilk.engines.openvino import compile_settings, import_openvino, precision_here
from ilk.engines.pieces import PieceEngine
from ilk.errors import ModelError, shown, told_by
from ilk.models.metadata import OUTPUTS, PRECISION_KEY
from ilk.spec import Spec

FILE = "model.xml"


class OpenVINOFileEngine(PieceEngine):
    """Runs an exported OpenVINO model.

    It is compiled for one picture as well as for any number: a fixed shape is a third faster.

    Parameters
    ----------
    path : Path
        The folder.
    spec : Spec
    precision : {"auto", "fp32", "bf16"}
        ``auto``: as it was exported.
    """

    def __init__(self, path: Path, spec: Spec, precision: Precision = "auto") -> None:
        openvino = import_openvino()
        core = openvino.Core()
        model = _read(core, path)
        exact = _texts(model).get(PRECISION_KEY) != "bf16"
        # A file that was exported to round asks for bf16; not every processor has it.
        chosen = precision_here(core, "fp32" if precision == "auto" and exact else precision)
        self.name = f"openvino-{openvino.get_version().split('-')[0]}-{chosen}"
        side = spec.preprocess.imgsz
        settings = compile_settings(chosen)
        self._any = core.compile_model(model, "CPU", settings)
        model.reshape(openvino.PartialShape([1, side, side, 3]))
        self._one = core.compile_model(model, "CPU", settings)
        self._requests = threading.local()

    def run_piece(self, pixels: Pixels) -> list[Floats]:
        """Return probabilities, logits and features."""
        kind = "one" if len(pixels) == 1 else "any"
        request = getattr(self._requests, kind, None)
        if request is None:
            request = (self._one if kind == "one" else self._any).create_infer_request()
            setattr(self._requests, kind, request)
        outputs = request.infer([pixels])
        return [outputs[name].copy() for name in OUTPUTS]


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
            f"{shown(path)} is not a whole OpenVINO model ({told_by(error)}). Export it again."
        ) from None


def _texts(model: Any) -> dict[str, str]:
    if not model.has_rt_info(["ilk"]):
        return {}
    keys = model.get_rt_info(["ilk"]).value
    return {f"ilk.{key}": model.get_rt_info(["ilk", key]).astype(str) for key in keys}
