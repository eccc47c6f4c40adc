"""Predictions: what a Classifier makes of pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Floats


@dataclass(frozen=True)
class Prediction:
    """What a Classifier makes of one picture; with ``error`` there is nothing else.

    ``accepted``: the probability is at least the model's threshold, if it has one. ``unknown``: the
    picture is like nothing that the model has learned; None where the model cannot tell.
    """

    path: str
    label: str | None
    probability: float | None
    top: tuple[tuple[str, float], ...]
    accepted: bool | None = None
    unknown: bool | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the record that ``ilk predict --json`` prints."""
        return {
            "path": self.path,
            "label": self.label,
            "probability": self.probability,
            "top": [{"label": label, "probability": p} for label, p in self.top],
            "accepted": self.accepted,
            "unknown": self.unknown,
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
        Calibrated. A row of NaN where a picture could not be read.
    novelty : float32 array [N]
        How unlike all that was learned each picture is: 0 is usual, more is stranger. NaN where a
        picture could not be read, or the model cannot tell.
    errors : dict of int to str
        The reasons, by row.
    accept : float
        The least probability of an answer that is accepted.
    strange : float
        The novelty above which a picture counts as unknown.
    """

    paths: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: Floats
    novelty: Floats
    errors: dict[int, str]
    accept: float = 0.0
    strange: float = math.inf

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """Whether each answer is sure enough to be accepted, ``bool [N]``."""
        accepted: NDArray[np.bool_] = np.nan_to_num(self.probabilities).max(axis=1) >= self.accept
        accepted[list(self.errors)] = False
        return accepted

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """Whether each picture is like nothing that was learned, ``bool [N]``."""
        return self.novelty > self.strange

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
            return Prediction(self.paths[row], None, None, (), error=self.errors[row])
        values = self.probabilities[row]
        best = np.argsort(-values, kind="stable")[:top]
        pairs = tuple((self.classes[k], round(float(values[k]), 6)) for k in best)
        novelty = float(self.novelty[row])
        return Prediction(
            self.paths[row],
            pairs[0][0],
            pairs[0][1],
            pairs,
            accepted=bool(values[best[0]] >= self.accept),
            unknown=None if math.isnan(novelty) else novelty > self.strange,
        )


def gathered(parts: Iterable[Predictions], classes: tuple[str, ...]) -> Predictions:
    """Join the predictions of successive batches."""
    empty = np.zeros((0, len(classes)), np.float32)
    parts = list(parts) or [Predictions((), classes, empty, empty[:, 0], {})]
    starts = np.cumsum([0, *(len(part) for part in parts)])
    return replace(
        parts[0],
        paths=tuple(path for part in parts for path in part.paths),
        probabilities=np.concatenate([part.probabilities for part in parts]),
        novelty=np.concatenate([part.novelty for part in parts]),
        errors={
            int(start) + i: reason
            for start, part in zip(starts[:-1], parts, strict=True)
            for i, reason in part.errors.items()
        },
    )
