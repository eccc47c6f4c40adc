"""Files: which exported file is of which kind, and the engine that runs it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ilk.engines.base import Engine, Precision
from ilk.engines.trailer import zipped_texts
from ilk.errors import EngineError, IlkError, ModelError, UsageError
from ilk.models.bundle import Bundle
from ilk.models.metadata import from_metadata
from ilk.text import error_text, escaped


@dataclass(frozen=True)
class Kind:
    """A kind of exported file.

    Attributes
    ----------
    what : str
        What it is called.
    module, engine : str
        The Engine that runs it.
    runs_code : bool
        Whether the file can hold code that runs when it is loaded.
    precisions : bool
        Whether it can be run in one of several precisions.
    metadata : str
        The module's function that reads the metadata; default: of the zip that it is, or ends with.
    elsewhere : str
        Where alone it runs, if not here.
    """

    what: str
    module: str
    engine: str
    runs_code: bool = False
    precisions: bool = False
    metadata: str = ""
    elsewhere: str = ""

    def metadata_of(self, path: Path) -> dict[str, str]:
        """Read the metadata; nothing of the file is run."""
        if not self.metadata:
            return zipped_texts(path)
        found: dict[str, str] = getattr(import_module(self.module), self.metadata)(path)
        return found

    @property
    def start(self) -> Callable[..., Engine]:
        """The Engine's class."""
        return getattr(import_module(self.module), self.engine)  # type: ignore[no-any-return]


KINDS = {
    ".onnx": Kind(
        "an ONNX file", "ilk.engines.onnxruntime", "ONNXRuntimeEngine", metadata="metadata_of"
    ),
    ".torchscript": Kind(
        "a TorchScript file", "ilk.engines.torch_file", "TorchFileEngine", runs_code=True
    ),
    ".pt2": Kind(
        "a torch.export file", "ilk.engines.torch_file", "TorchFileEngine", runs_code=True
    ),
    ".pte": Kind("an ExecuTorch file", "ilk.engines.executorch", "ExecuTorchEngine"),
    ".tflite": Kind("a LiteRT file", "ilk.engines.litert", "LiteRTEngine"),
    ".engine": Kind("a TensorRT engine", "ilk.engines.tensorrt", "TensorRTEngine", runs_code=True),
    ".mlpackage": Kind(
        "a Core ML package",
        "ilk.engines.coreml",
        "",
        metadata="metadata_of",
        elsewhere="Core ML runs it, on iOS and macOS only",
    ),
}
WEB = Kind("a web page", "ilk.engines.web", "WebEngine", metadata="metadata_of")
OPENVINO = Kind(
    "an OpenVINO model",
    "ilk.engines.openvino_file",
    "OpenVINOFileEngine",
    precisions=True,
    metadata="metadata_of",
)


def kind_of(path: Path) -> Kind | None:
    """Return the kind of an exported file, by its name; None if it is none of ours."""
    if (path / "model.xml").is_file():
        return OPENVINO
    if (path / "model.onnx").is_file():
        return WEB
    return KINDS.get(path.suffix)


def open_file(path: Path, kind: Kind, precision: Precision, trust: bool) -> tuple[Bundle, Engine]:
    """Make an exported file ready to run.

    Returns
    -------
    Bundle
        Its Spec and records, without weights.
    Engine

    Raises
    ------
    ModelError
        It is damaged, foreign, or may run code and is not trusted.
    """
    name = escaped(path)
    if not path.exists():
        raise ModelError(
            f"The model {name} is not there; where pictures are named too, the model comes first."
        )
    if kind.elsewhere:
        raise EngineError(f"{name} is {kind.what}: {kind.elsewhere}, and ilk does not.")
    if kind.runs_code and not trust:
        raise ModelError(
            f"{name} is {kind.what}, which can hold code that runs when it is loaded. If you know "
            "where it comes from, pass --trust (trust=True)."
        )
    if precision != "auto" and not kind.precisions:
        raise UsageError(f"{name} computes as it was exported; drop --precision {precision}.")
    bundle = from_metadata(kind.metadata_of(path), name)
    extra: dict[str, Any] = {} if precision == "auto" else {"precision": precision}
    try:
        engine = kind.start(path, bundle.spec, **extra)
        _refuse_misfit(engine, bundle, name)
    except IlkError:
        raise
    except Exception as error:  # each runtime has kinds of its own
        raise ModelError(f"{name} cannot be run: {error_text(error)}. Export it again.") from None
    return bundle, engine


def _refuse_misfit(engine: Engine, bundle: Bundle, name: str) -> None:
    """Run one black picture, and two: what comes out must fit what the Spec promises."""
    spec = bundle.spec
    side = spec.preprocess.imgsz
    for number in (1, 2):
        outputs = engine.run(np.zeros((number, side, side, 3), np.uint8))
        expected = [(number, spec.backbone.features), (number, len(spec.classes))]
        found = [value.shape for value in outputs if value is not None]
        if found != expected:
            engine.close()
            raise ModelError(
                f"{name} gives features and logits of the shapes {found}; its Spec promises "
                f"{expected}. Export it again."
            )


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of a folder's files."""
    return sum(file.stat().st_size for file in _files(path))


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file; of a folder, that of its files' names and digests in order."""
    if not path.is_dir():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    hasher = hashlib.sha256()
    for file in _files(path):
        name = file.relative_to(path).as_posix()
        hasher.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return hasher.hexdigest()


def _files(path: Path) -> list[Path]:
    return sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
