"""The exception tree. Every message says what came, what is allowed and how to mend it."""

from __future__ import annotations


class IlkError(Exception):
    """Anything that ilk refuses or cannot do; the command line prints its text and exits.

    Attributes
    ----------
    exit_code : int
        What the command line exits with: 1 failed, 2 usage, 3 the data did not pass, 4 a gate
        of accuracy or agreement did not.
    """

    exit_code = 1


class UsageError(IlkError):
    """A flag, argument or recipe is wrong, or does not apply."""

    exit_code = 2


class DataError(IlkError):
    """The pictures, their labels or their splits cannot be used as they are."""

    exit_code = 3


class DecodeError(DataError):
    """One picture cannot be decoded; the text is the reason, without the file's name.

    Attributes
    ----------
    kind : str
        The kind of finding that it is: see `ilk.checking.findings.kinds`.
    """

    def __init__(self, reason: str, kind: str = "file.unreadable") -> None:
        super().__init__(reason)
        self.kind = kind


class ModelError(IlkError):
    """An artefact is damaged, foreign or of a newer version."""


class WeightsError(IlkError):
    """Pretrained weights cannot be had, or are not what they should be."""


class TrainingError(IlkError):
    """A training went astray: its loss is not finite."""


class Interrupted(IlkError):  # noqa: N818 -- no error: someone asked for it
    """Someone stopped a training, and it has been saved."""

    exit_code = 130


class OutputError(IlkError):
    """Results cannot be written where they should go."""


class ManifestError(IlkError):
    """A quarantine's manifest is damaged, foreign or was edited."""


class EngineError(IlkError):
    """An engine is not installed, or cannot run this network on this machine."""


class RemoteError(IlkError):
    """A server cannot be reached, or does not answer as one should."""


class ExportError(IlkError):
    """A format cannot take this network, or is not to be had here."""


class GateError(IlkError):
    """What was exported disagrees with its model, or lost more accuracy than allowed."""

    exit_code = 4
