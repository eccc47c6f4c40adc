"""Predictions: the output of a Classifier."""

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
    """The prediction for one picture; if ``error`` is set, everything else is None or empty.

    ``accepted``: the probability is at least the model's threshold, if it has one. ``unknown``: the
    picture is out of distribution; None if the model has no detector.
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
        Out-of-distribution score: about 0 in distribution, higher further out. NaN where a picture
        could not be read, or the model has no detector.
    errors : dict of int to str
        The reasons, by row.
    accept_threshold : float
        The lowest probability that is accepted.
    novelty_threshold : float
        The novelty above which a picture counts as unknown.
    """

    paths: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: Floats
    novelty: Floats
    errors: dict[int, str]
    accept_threshold: float = 0.0
    novelty_threshold: float = math.inf

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """Whether the probability reaches the threshold, ``bool [N]``."""
        accepted: NDArray[np.bool_] = (
            np.nan_to_num(self.probabilities).max(axis=1) >= self.accept_threshold
        )
        accepted[list(self.errors)] = False
        return accepted

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """Whether each picture is out of distribution, ``bool [N]``."""
        return self.novelty > self.novelty_threshold

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
            accepted=bool(values[best[0]] >= self.accept_threshold),
            unknown=None if math.isnan(novelty) else novelty > self.novelty_threshold,
        )


def concatenate(parts: Iterable[Predictions], classes: tuple[str, ...]) -> Predictions:
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
