"""The exception tree. Every message says what was found, what is allowed and how to fix it."""

from __future__ import annotations


class IlkError(Exception):
    """Base class of all errors that ilk raises; the command line prints the message and exits.

    Attributes
    ----------
    exit_code : int
        The command line's exit code: 1 failed, 2 usage, 3 the data did not pass, 4 an accuracy or
        agreement gate did not pass.
    """

    exit_code = 1


class UsageError(IlkError):
    """A flag, argument or recipe is wrong, or does not apply."""

    exit_code = 2


class DataError(IlkError):
    """The pictures, their labels or their splits cannot be used as they are."""

    exit_code = 3


class DecodeError(DataError):
    """One picture cannot be decoded; the message is the reason, without the file name.

    Attributes
    ----------
    kind : str
        The kind of finding: see `ilk.checking.findings.kinds`.
    """

    def __init__(self, reason: str, kind: str = "file.unreadable") -> None:
        super().__init__(reason)
        self.kind = kind


class ModelError(IlkError):
    """An artefact is damaged, foreign or of a newer version."""


class WeightsError(IlkError):
    """Pretrained weights cannot be found, or are not the expected ones."""


class TrainingError(IlkError):
    """A training diverged: its loss became NaN or infinite."""


class Interrupted(IlkError):  # noqa: N818 -- no error: someone asked for it
    """The user interrupted the work; the message says how to resume or undo it."""

    exit_code = 130


class OutputError(IlkError):
    """Results cannot be written."""


class ManifestError(IlkError):
    """A quarantine's manifest is damaged, foreign or was edited."""


class EngineError(IlkError):
    """An engine is not installed, or cannot run this network on this machine."""


class RemoteError(IlkError):
    """A server cannot be reached, or its response is invalid."""


class ExportError(IlkError):
    """A format does not support this network, or is not available on this machine."""


class GateError(IlkError):
    """An exported file disagrees with its model, or lost more accuracy than allowed."""

    exit_code = 4
