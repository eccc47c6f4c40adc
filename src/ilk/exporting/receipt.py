"""Receipt: the evidence that comes with an exported file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ilk.evaluation.comparison import Comparison
from ilk.evaluation.intervals import Measured
from ilk.runtime import processor

TOLERANCE = 1e-3  # in probability, for formats that compute in float32
ROUNDING = 1e-9  # in the difference of two shares


@dataclass(frozen=True)
class FromJpeg:
    """What the file says of JPEGs that Pillow alone decoded, as docs/export.md shows.

    Attributes
    ----------
    top1_agreement : Measured
        How often it is what the model says of the same file.
    max_probability_difference : float
    """

    top1_agreement: Measured
    max_probability_difference: float

    def __str__(self) -> str:
        return (
            f"decoded by Pillow as documented: top-1 agrees {self.top1_agreement}, probabilities "
            f"differ by at most {self.max_probability_difference:.2g}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the record in the receipt."""
        return {
            "top1_agreement": self.top1_agreement.to_dict(),
            "max_probability_difference": self.max_probability_difference,
        }


@dataclass(frozen=True)
class Receipt:
    """What was measured when an exported file was compared with its model, or why it was not.

    Attributes
    ----------
    reason : str
        Why it was not executed.
    runs_in : str
        The runtime that executed it.
    pictures : str
        The pictures that it was verified on, in words.
    batches : tuple of int
        The batch sizes that were tried.
    top1_agreement, unknown_agreement : Measured or None
        How often it predicts the same class, and marks the same pictures as unknown.
    drop : Comparison or None
        The file's accuracy minus its model's, on the same pictures.
    from_jpeg : FromJpeg or None
        None if no picture is a JPEG.
    options : dict
        The `ExportOptions` that were given.
    """

    format: str
    path: str
    size_bytes: int
    sha256: str = ""
    executed: bool = False
    reason: str = ""
    runs_in: str = ""
    pictures: str = ""
    batches: tuple[int, ...] = ()
    max_probability_difference: float | None = None
    top1_agreement: Measured | None = None
    unknown_agreement: Measured | None = None
    accuracy: Measured | None = None
    reference_accuracy: Measured | None = None
    drop: Comparison | None = None
    from_jpeg: FromJpeg | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    processor: str = field(default_factory=processor)

    def to_dict(self) -> dict[str, Any]:
        """Return the record that ``ilk export --json`` prints."""
        measured = (
            "top1_agreement", "unknown_agreement", "accuracy", "reference_accuracy", "drop",
            "from_jpeg",
        )  # fmt: skip
        record = {name: value for name, value in vars(self).items() if name not in measured}
        for name in measured:
            value = getattr(self, name)
            record[name] = value.to_dict() if value else None
        record["options"] = dict(self.options)
        return record | {"batches": list(self.batches), "versions": dict(self.versions)}

    def failed_gate(self, exact: bool, max_drop: float) -> str | None:
        """Say why the file must not be published; None if it may.

        In float32, every probability must agree within 1e-3. In reduced precision, the accuracy on
        the same pictures must not fall by more than ``max_drop``.
        """
        if not self.executed:
            return None
        gap = self.max_probability_difference
        if gap is None or not math.isfinite(gap):
            return "its outputs are not finite"
        if exact and gap > TOLERANCE:
            return (
                f"its probabilities differ from the model's by up to {gap:.2g}, more than the "
                f"{TOLERANCE:g} that rounding explains"
            )
        if self.drop is None:
            return None
        change = self.drop.difference
        if change.value < -max_drop - ROUNDING:
            return (
                f"its accuracy is {-100 * change.value:.1f} points below the model's (95 % "
                f"interval {100 * change.low:+.1f} to {100 * change.high:+.1f}, n = "
                f"{change.n:,}), more than --max-drop {max_drop:g} allows"
            )
        return None

    def too_few(self, max_drop: float) -> bool:
        """Say whether there are too few pictures to rule out a larger drop than is allowed.

        If every probability agrees, no drop is possible.
        """
        gap = self.max_probability_difference
        if self.drop is None or gap is None or gap <= TOLERANCE:
            return False
        return self.drop.difference.low < -max_drop
