"""The flags for what a model runs on, shared by the commands that run one."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

from ilk.engines import EngineName, Options
from ilk.engines.base import Precision
from ilk.errors import UsageError
from ilk.text import escaped

if TYPE_CHECKING:
    from ilk.inference.classifier import Classifier


@Parameter(name="*")
@dataclass(frozen=True)
class Running:
    """Where and how a model runs.

    Parameters
    ----------
    device
        auto, cpu, cuda, cuda:1 or mps.
    engine
        What runs the network; auto: OpenVINO on a CPU, else PyTorch. An exported file brings its
        own.
    precision
        auto: bf16 if the processor has it; for an exported file, as exported.
    trust
        Load files that can hold code, which runs on load: TorchScript, .pt2, TensorRT.
    """

    device: str = "auto"
    engine: EngineName = "auto"
    precision: Precision = "auto"
    trust: bool = False

    def load(self, model: Path, among: bool = False) -> Classifier:
        """Load a model; ``among`` others, an exported one ignores flags that do not apply to it."""
        import ilk
        from ilk.inference.classifier import applicable_options

        options = self.options()
        return ilk.load(model, **asdict(applicable_options(model, options) if among else options))

    def options(self) -> Options:
        """Return the flags as the engines' options."""
        return Options(**asdict(self))


DEFAULT = Running()
KEY = "ILK_API_KEY"


def key_from(file: Path | None) -> str:
    """Return a server's key from a file, or from the environment; empty if there is none."""
    if file is None:
        return os.environ.get(KEY, "")
    try:
        key = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--api-key-file {escaped(file)} cannot be read: {error}.") from None
    if not key:
        raise UsageError(f"--api-key-file {escaped(file)} is empty.")
    return key
