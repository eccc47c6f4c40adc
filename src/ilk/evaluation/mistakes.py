"""Mistakes: misclassified pictures, most confident first, and labels that may be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilk.arrays import Floats, Indices, Targets
from ilk.data.catalog import Picture
from ilk.evaluation.label_issues import label_issues

MAX_IN_REPORT = 12  # mistakes shown first, with explanations
MAX_IN_METRICS = 100  # mistakes listed in metrics.json
# A margin: 0.95 against 0.05. A weaker contradiction is more likely an error of the model.
CONTRADICTED = -0.9


@dataclass(frozen=True)
class Mistake:
    """A picture whose prediction differs from its label; ``suspect`` if the label may be wrong."""

    picture: Picture
    label: str
    predicted: str
    probability: float
    of_label: float
    suspect: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the entry in ``metrics.json``."""
        return {
            "path": self.picture.path,
            "label": self.label,
            "predicted": self.predicted,
            "probability": round(self.probability, 6),
            "probability_of_label": round(self.of_label, 6),
            "label_suspect": self.suspect,
        }


@dataclass(frozen=True, eq=False)
class Mistakes:
    """All mistakes, and a ranking of all labels.

    Attributes
    ----------
    all : tuple of Mistake
        Most confident first.
    label_ranking : int array [N]
        Indices of all pictures, the label most likely to be wrong first.
    """

    all: tuple[Mistake, ...]
    label_ranking: Indices

    @property
    def suspects(self) -> tuple[Mistake, ...]:
        """The mistakes whose label may be wrong."""
        return tuple(m for m in self.all if m.suspect)

    def of_pair(self, label: str, predicted: str) -> tuple[Mistake, ...]:
        """Return the mistakes of one true and one predicted class."""
        return tuple(m for m in self.all if (m.label, m.predicted) == (label, predicted))

    def to_dict(self) -> dict[str, Any]:
        """Return the entries in ``metrics.json``."""
        return {
            "mistakes": [m.to_dict() for m in self.all[:MAX_IN_METRICS]],
            "likely_wrong_labels": [m.to_dict() for m in self.suspects],
        }


def find_mistakes(
    pictures: Sequence[Picture], probabilities: Floats, targets: Targets, classes: tuple[str, ...]
) -> Mistakes:
    """Find the mistakes on held-out pictures.

    Parameters
    ----------
    probabilities : float32 array [N, K]
    targets : int64 array [N]

    Notes
    -----
    Suspect labels are found as by `ilk.check`: confident learning (Northcutt et al. 2021).
    """
    found = label_issues(probabilities, targets, CONTRADICTED)
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != targets)
    order = wrong[np.argsort(found.margins[wrong], kind="stable")]
    every = np.arange(len(targets))
    of_label = probabilities[every, targets]
    top = probabilities[every, predicted]
    return Mistakes(
        tuple(
            Mistake(
                pictures[i],
                classes[targets[i]],
                classes[predicted[i]],
                float(top[i]),
                float(of_label[i]),
                bool(found.suspects[i]),
            )
            for i in order
        ),
        found.ranking,
    )
