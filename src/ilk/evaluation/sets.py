"""Sets: which classes a picture may be of, with a promise, and whether the promise was kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from ilk.arrays import Reals, Targets
from ilk.evaluation import conformal
from ilk.evaluation.conformal import Coverage, Method

PROMISED = 0.9


@dataclass(frozen=True)
class SetScores:
    """What sets of one method, which promise to hold the true class so often, are worth.

    ``held_out`` is the number of pictures by which the limit was chosen.
    """

    method: Method
    promised: float
    held_out: int
    found: Coverage

    def to_dict(self) -> dict[str, Any]:
        """Return the record that stands in ``metrics.json``."""
        return {"promised": self.promised, "held_out": self.held_out, **self.found.to_dict()}


def set_scores(
    probabilities: Reals,
    targets: Targets,
    held_out: tuple[Reals, Targets],
    classes: tuple[str, ...],
    promised: float = PROMISED,
) -> list[SetScores]:
    """Score sets of each method; there are none where too few pictures were held out.

    Parameters
    ----------
    probabilities, targets : float array [N, K] and int64 array [N]
        Of the pictures that scores are reported on.
    held_out : float array [M, K] and int64 array [M]
        The same of those by which the limits are chosen.
    classes : tuple of str
    promised : float
        How often sets shall hold the true class.
    """
    if not conformal.enough(len(held_out[1]), promised):
        return []
    scores = []
    for method in get_args(Method):
        highest = conformal.limit(*held_out, promised, method)
        kept = conformal.sets(probabilities, highest, method)
        found = conformal.covered(kept, targets, classes)
        scores.append(SetScores(method, promised, len(held_out[1]), found))
    return scores
