"""Predictions: what a Classifier makes of pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prediction:
    """What a Classifier makes of one picture; with ``error`` there is nothing else."""

    path: str
    label: str | None
    probability: float | None
    top: tuple[tuple[str, float], ...]
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the record that ``ilk predict --json`` prints."""
        return {
            "path": self.path,
            "label": self.label,
            "probability": self.probability,
            "top": [{"label": label, "probability": p} for label, p in self.top],
            "error": self.error,
        }


@dataclass(frozen=True, eq=False)
class Predictions(Sequence[Prediction]):
    """Predictions in the order of the pictures.

    Attributes
    ----------
    paths : tuple of str
    classes : tuple of str
        The names of the columns of ``probabilities``.
    probabilities : float32 array [N, K]
        A row of NaN where a picture could not be read.
    errors : dict of int to str
        The reasons, by row.
    """

    paths: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    errors: dict[int, str]

    @property
    def labels(self) -> list[str | None]:
        """The most probable class of each picture; None where it could not be read."""
        best = np.nan_to_num(self.probabilities).argmax(axis=1)
        return [None if i in self.errors else self.classes[k] for i, k in enumerate(best)]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        """Return one Prediction, or those of a slice, with the five most probable classes."""
        if isinstance(index, slice):
            return [self.at(i) for i in range(*index.indices(len(self)))]
        return self.at(range(len(self))[index])

    def at(self, row: int, top: int = 5) -> Prediction:
        """Return the prediction of a row, with its ``top`` most probable classes."""
        if row in self.errors:
            return Prediction(self.paths[row], None, None, (), self.errors[row])
        values = self.probabilities[row]
        best = np.argsort(-values, kind="stable")[:top]
        pairs = tuple((self.classes[k], round(float(values[k]), 6)) for k in best)
        return Prediction(self.paths[row], pairs[0][0], pairs[0][1], pairs)


def gathered(parts: Iterable[Predictions], classes: tuple[str, ...]) -> Predictions:
    """Join the predictions of successive batches."""
    paths: list[str] = []
    errors: dict[int, str] = {}
    values = [np.zeros((0, len(classes)), np.float32)]
    for part in parts:
        errors |= {len(paths) + i: reason for i, reason in part.errors.items()}
        paths += part.paths
        values.append(part.probabilities)
    return Predictions(tuple(paths), classes, np.concatenate(values), errors)
