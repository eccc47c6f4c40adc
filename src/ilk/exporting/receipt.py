"""Receipt: the proof that comes with an exported file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ilk.evaluation.comparison import Comparison
from ilk.evaluation.intervals import Measured
from ilk.runtime import processor

TOLERANCE = 1e-3  # in probability, of what computes in float32
ROUNDING = 1e-9  # of a difference of two shares


@dataclass(frozen=True)
class Receipt:
    """What was found when an exported file was run beside its model; or why it was not run.

    Attributes
    ----------
    format, path, sha256 : str
    size_bytes : int
    executed : bool
    reason : str
        Why it was not executed.
    runs_in : str
        What ran it.
    pictures : str
        In words, on which.
    batches : tuple of int
        The sizes of batches that were tried.
    max_probability_difference : float or None
    top1_agreement, unknown_agreement : Measured or None
        How often it names the same class, and marks the same pictures as unknown.
    accuracy, reference_accuracy : Measured or None
    drop : Comparison or None
        The accuracy of the file less that of its model, on the same pictures.
    versions : dict
    processor : str
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
    versions: Mapping[str, str] = field(default_factory=dict)
    processor: str = field(default_factory=processor)

    def to_dict(self) -> dict[str, Any]:
        """Return the record that ``ilk export --json`` prints."""
        measured = (
            "top1_agreement", "unknown_agreement", "accuracy", "reference_accuracy", "drop",
        )  # fmt: skip
        record = {name: value for name, value in vars(self).items() if name not in measured}
        for name in measured:
            value = getattr(self, name)
            record[name] = value.to_dict() if value else None
        return record | {"batches": list(self.batches), "versions": dict(self.versions)}

    def trouble(self, exact: bool, max_drop: float) -> str | None:
        """Say why the file must not be handed over; None if it may.

        Of what computes in float32, every probability must agree within 1e-3. Of all else, the
        accuracy on the same pictures must not fall by more than ``max_drop``.
        """
        if not self.executed:
            return None
        gap = self.max_probability_difference
        if gap is None or not math.isfinite(gap):
            return "it gives numbers that are not finite"
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
        """Say whether the pictures are too few to rule out a larger drop than is allowed.

        Where each probability agrees, there is none to rule out.
        """
        gap = self.max_probability_difference
        if self.drop is None or gap is None or gap <= TOLERANCE:
            return False
        return self.drop.difference.low < -max_drop
