"""Format: what ilk knows about a file format, how it is written, and how it is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ilk.engines.base import ChunkedEngine, Engine, Precision
from ilk.errors import EngineError, IlkError, ModelError, UsageError
from ilk.formats.footer import with_footer, zipped_metadata
from ilk.formats.graphs import ExportJob
from ilk.formats.libraries import require
from ilk.models.bundle import Bundle
from ilk.models.metadata import from_metadata
from ilk.spec import Spec
from ilk.text import error_text, escaped

PREDICT = "ilk predict {path} PICTURES"
PREDICT_TRUSTED = f"{PREDICT} --trust"


class Format(ABC):
    """A format that models are exported to.

    Subclasses set the attributes and implement `convert` and `open`; also `save`, `metadata_of` and
    `recognizes` where the defaults do not fit. They import libraries within these methods: the lean
    image has all formats, but not their libraries, nor torch.
    """

    name: str
    """As in ``--format``."""
    aliases: tuple[str, ...] = ()
    """Other names that people try; an error suggests ``name``."""
    noun: str
    """With its article, for messages: "an ONNX file"."""
    suffix: str
    """Appended to the model's name: ``.onnx``, ``-int8.onnx``, ``-openvino``."""
    contents: frozenset[str] = frozenset()
    """The names in an exported folder; empty if the format is a file."""

    exact: bool = True
    """Computes in float32, so that every probability must agree with the model's."""
    calibrated: bool = False
    """Needs training pictures to be quantized."""
    public: bool = False
    """Meant to be published: nothing in it says anything about the training pictures."""
    runs_code: bool = False
    """Can hold code that runs on load, so that users must pass ``--trust``."""
    options: frozenset[str] = frozenset({"imgsz"})
    """Which of `ExportOptions` apply."""
    precisions: bool = False
    """Can be run in a precision other than the exported one."""
    runs_elsewhere: str = ""
    """What runs it, where ilk cannot: it is written and read back, but not executed."""

    requires: tuple[tuple[str, str], ...] = ()
    """What `convert` imports: modules, each with what ``pip install`` needs to bring it."""
    packages: tuple[str, ...] = ()
    """Distributions whose versions go into receipts."""
    use: str = PREDICT
    """How to use the file, in words; ``{path}`` stands for where it is."""

    speed_rank: int | None = None
    """The search for the fastest format tries low ranks first; None: never."""
    size_rank: int | None = None
    """The same for the search for the smallest."""
    search_requires: str = ""
    """A module without which the search skips the format instead of reporting it as missing."""

    @property
    def extension(self) -> str:
        """The extension of the file: ``.onnx``; empty for a plain folder."""
        return Path(f"model{self.suffix}").suffix

    def check_requirements(self) -> None:
        """Refuse early what cannot be converted on this machine.

        Raises
        ------
        EngineError, ExportError
            A library or a device is missing.
        """
        for module, package in self.requires:
            require(module, package)

    @abstractmethod
    def convert(self, job: ExportJob) -> Any:
        """Convert a network in memory: the slow part.

        Raises
        ------
        ExportError
            The format cannot represent the network.
        """

    def save(self, converted: Any, path: Path, metadata: Mapping[str, str]) -> None:
        """Write what `convert` returned, with metadata; by default bytes with a zip footer.

        Called twice: to verify the file, and again with the receipt in the metadata.
        """
        path.write_bytes(with_footer(converted, metadata))

    @abstractmethod
    def open(self, path: Path, spec: Spec, precision: Precision = "auto") -> ChunkedEngine:
        """Return an Engine that runs an exported file."""

    def metadata_of(self, path: Path) -> dict[str, str]:
        """Read the metadata without running anything; by default from a zip or a zip footer."""
        return zipped_metadata(path)

    def recognizes(self, path: Path) -> bool:
        """Say whether a file or folder looks like this format, by its name or contents."""
        return path.suffix == self.extension != ""

    def load(
        self, path: Path, precision: Precision = "auto", trust: bool = False
    ) -> tuple[Bundle, ChunkedEngine]:
        """Open an exported file, and check that its outputs fit its Spec.

        Returns
        -------
        Bundle
            Spec and records, without weights.

        Raises
        ------
        ModelError
            The file is damaged or foreign, or may hold code and is not trusted.
        EngineError
            Nothing on this machine runs it.
        """
        name = escaped(path)
        if not path.exists():
            raise ModelError(
                f"There is no model {name}. If you also name pictures, the model comes first."
            )
        if self.runs_elsewhere:
            raise EngineError(f"{name} is {self.noun}: {self.runs_elsewhere}, and ilk does not.")
        if self.runs_code and not trust:
            raise ModelError(
                f"{name} is {self.noun}, which can hold code that runs when it is loaded. If you "
                "know where it comes from, pass --trust (trust=True)."
            )
        if precision != "auto" and not self.precisions:
            raise UsageError(
                f"{name} runs in the precision it was exported in; drop --precision {precision}."
            )
        bundle = from_metadata(self.metadata_of(path), name)
        try:
            engine = self.open(path, bundle.spec, precision)
            try:
                _check_outputs(engine, bundle.spec, name)
            except BaseException:
                engine.close()
                raise
        except IlkError:
            raise
        except Exception as error:  # runtimes have exceptions of their own
            raise ModelError(
                f"{name} cannot be run: {error_text(error)}. Export it again."
            ) from None
        return bundle, engine


def _check_outputs(engine: Engine, spec: Spec, name: str) -> None:
    """Run batches of one and two black pictures: the outputs must have the Spec's shapes."""
    side = spec.preprocess.imgsz
    for number in (1, 2):
        outputs = engine.run(np.zeros((number, side, side, 3), np.uint8))
        expected = [(number, spec.backbone.features), (number, len(spec.classes))]
        found = [value.shape for value in outputs if value is not None]
        if found != expected:
            raise ModelError(
                f"{name} gives features and logits of the shapes {found}; its Spec promises "
                f"{expected}. Export it again."
            )
