"""Mistakes: pictures that a model names wrongly, the surest first, and labels that may be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Floats, Targets
from ilk.data.catalog import Picture
from ilk.evaluation.label_issues import suspicion

TOLD = 100  # mistakes in metrics.json
# Of a margin: 0.95 against 0.05. Below, a single mistake is rather the model's than the label's.
CONTRADICTED = -0.9


@dataclass(frozen=True)
class Mistake:
    """A picture whose label and prediction differ; ``suspect``: the label may be what is wrong."""

    picture: Picture
    label: str
    predicted: str
    probability: float
    of_label: float
    suspect: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the record that stands in ``metrics.json``."""
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
    """All mistakes, those first that the model was surest of; ``doubt`` ranks all labels.

    Attributes
    ----------
    all : tuple of Mistake
    doubt : int64 array [N]
        Rows of all pictures, the likeliest wrong label first.
    """

    all: tuple[Mistake, ...]
    doubt: NDArray[np.intp]

    @property
    def suspects(self) -> tuple[Mistake, ...]:
        """Those whose label may be wrong."""
        return tuple(m for m in self.all if m.suspect)

    def of_pair(self, label: str, predicted: str) -> tuple[Mistake, ...]:
        """Return the pictures of one class that were taken for another."""
        return tuple(m for m in self.all if (m.label, m.predicted) == (label, predicted))

    def to_dict(self) -> dict[str, Any]:
        """Return what stands in ``metrics.json``."""
        return {
            "mistakes": [m.to_dict() for m in self.all[:TOLD]],
            "likely_wrong_labels": [m.to_dict() for m in self.suspects],
        }


def find_mistakes(
    pictures: Sequence[Picture],
    probabilities: Floats,
    targets: Targets,
    classes: tuple[str, ...],
) -> Mistakes:
    """Find the mistakes among pictures that the model did not learn from.

    Parameters
    ----------
    pictures : sequence of Picture
    probabilities : float32 array [N, K]
    targets : int64 array [N]
    classes : tuple of str

    Notes
    -----
    Labels are doubted as `ilk check` doubts them, by confident learning (Northcutt et al. 2021).
    """
    found = suspicion(probabilities, targets, CONTRADICTED)
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != targets)
    order = wrong[np.argsort(found.scores[wrong], kind="stable")]
    rows = np.arange(len(targets))
    of_label = probabilities[rows, targets]
    top = probabilities[rows, predicted]
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
