"""The OpenVINO engine: the network compiled for this processor. The default on a CPU."""

from __future__ import annotations

import shutil
import sys
import uuid
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from ilk.arrays import Pixels
from ilk.data.cache import touch
from ilk.engines.base import Engine, Outputs, Precision
from ilk.engines.compiled import LANES, Compiled
from ilk.errors import EngineError
from ilk.folder import put_in_place
from ilk.models.bundle import BACKBONE, Bundle
from ilk.runtime import cache_dir
from ilk.text import error_text


class OpenVINOEngine(Engine):
    """Runs a Bundle's backbone as a converted graph, and its head in float32.

    Parameters
    ----------
    precision : {"auto", "fp32", "bf16"}
        ``auto``: bf16 if the processor has it.

    Raises
    ------
    EngineError
        OpenVINO is not installed, or the processor lacks the precision.
    """

    concurrency = LANES

    def __init__(self, bundle: Bundle, precision: Precision = "auto") -> None:
        openvino = import_openvino()
        core = openvino.Core()
        chosen = precision_here(core, precision)
        self.name = f"openvino-{openvino.get_version().split('-')[0]}-{chosen}"
        self._bundle = bundle
        side = bundle.spec.preprocess.imgsz
        self._compiled = Compiled(core, _read(core, bundle), side, chosen)

    def run(self, pixels: Pixels) -> Outputs:
        """Run pixels ``uint8 [N, H, W, 3]`` through the network. Thread-safe."""
        (features,) = self._compiled.run(pixels)
        logits = self._bundle.logits(features) if self._bundle.spec.classes else None
        return Outputs(features, logits)


def has_bf16(core: Any) -> bool:
    """Say whether this processor computes in bf16."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def precision_here(core: Any, wanted: str) -> str:
    """Return the precision to compute in: bf16 if the processor has it, unless fp32 is wanted.

    Raises
    ------
    EngineError
        bf16 is wanted, and the processor has none.
    """
    bf16 = has_bf16(core)
    if wanted == "bf16" and not bf16:
        raise EngineError("This processor has no bf16; use --precision auto or fp32.")
    return "bf16" if bf16 and wanted != "fp32" else "fp32"


def import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry.

    OpenVINO reports its import and every conversion over the network unless the package
    ``openvino_telemetry`` is missing. ilk sends nothing, so it hides the package.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError:
        raise EngineError("The OpenVINO engine needs openvino: pip install openvino.") from None
    return openvino  # type: ignore[no-any-return]


def graph_file(bundle: Bundle) -> Path:
    """Return the path of a Bundle's converted backbone, whether it is there or not."""
    from importlib.metadata import version

    key = f"{bundle.backbone_digest[:32]}-openvino-{version('openvino')}"
    return cache_dir("graphs") / key / "graph.xml"


def has_graph(bundle: Bundle) -> bool:
    """Say whether a Bundle's backbone has been converted already, and mark it as used."""
    files = [graph_file(bundle), graph_file(bundle).with_suffix(".bin")]
    if not all(file.is_file() for file in files):
        return False
    for file in files:
        touch(file)
    return True


def _read(core: Any, bundle: Bundle) -> Any:
    """Read a Bundle's converted backbone; convert it again if the cached file is damaged."""
    try:
        return core.read_model(graph_file(bundle))
    except RuntimeError:
        shutil.rmtree(graph_file(bundle).parent, ignore_errors=True)
        convert(bundle)
        return core.read_model(graph_file(bundle))


def convert(bundle: Bundle) -> None:
    """Convert a Bundle's backbone, by way of a TorchScript trace, and cache it.

    Raises
    ------
    EngineError
        OpenVINO cannot convert this architecture.
    """
    openvino = import_openvino()
    network = _trace(bundle)
    size = bundle.spec.preprocess.imgsz
    try:
        model = openvino.convert_model(
            network, input=[(openvino.PartialShape([-1, size, size, 3]), openvino.Type.u8)]
        )
    except Exception as error:  # of any kind: the converter passes on what its front end raised
        raise EngineError(
            f"OpenVINO cannot convert '{bundle.spec.backbone.name}': {error_text(error)}. "
            "Use --engine pytorch."
        ) from None
    target = graph_file(bundle).parent
    part = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        openvino.save_model(model, part / "graph.xml", compress_to_fp16=False)
        put_in_place(part, target, lambda: has_graph(bundle))
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _trace(bundle: Bundle) -> Any:
    """Trace and freeze the backbone; freezing saves the converter half its work."""
    import torch

    from ilk.models.network import build

    bare = Bundle(
        bundle.spec.model_copy(update={"classes": ()}),
        {name: value for name, value in bundle.tensors.items() if name.startswith(BACKBONE)},
    )
    network = build(bare)
    size = bundle.spec.preprocess.imgsz
    # Two pictures: tracing one would fix the batch size at 1.
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is, but OpenVINO reads it
        return torch.jit.freeze(torch.jit.trace(network, example, check_trace=False))
