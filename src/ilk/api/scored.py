"""Scored: pictures and what a model makes of them, as an Evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.data.catalog import Picture
from ilk.evaluation.metrics import Evaluation, score


def scored(
    pictures: Sequence[Picture],
    scores: NDArray[np.float32],
    classes: tuple[str, ...],
    **context: Any,
) -> Evaluation | None:
    """Score pictures by their highest logit or probability; None if there are no pictures."""
    if not pictures:
        return None
    labels = [p.label or "" for p in pictures]
    return replace(score(labels, scores.argmax(axis=1), classes), **context)
