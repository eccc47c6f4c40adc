"""Table: what the model makes of each picture that was scored, as CSV."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np

from ilk.evaluation.result import Evaluation


def write(path: Path, evaluation: Evaluation, accept: float, strange: float) -> None:
    """Write ``path,label,predicted,probability,right,accepted,unknown``, one row a picture.

    Parameters
    ----------
    path : Path
    evaluation : Evaluation
    accept : float
        The least probability that is accepted.
    strange : float
        The novelty above which a picture is unknown.
    """
    predicted = evaluation.probabilities.argmax(axis=1)
    sure = evaluation.probabilities.max(axis=1)
    # As in Catalog.save: any file name stays intact.
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as out:
        writer = csv.writer(out)
        writer.writerow(
            ["path", "label", "predicted", "probability", "right", "accepted", "unknown"]
        )
        for i, picture in enumerate(evaluation.pictures):
            where = picture.path if picture.content is not None else os.path.abspath(picture.path)  # noqa: PTH100
            novelty = evaluation.novelty[i]
            writer.writerow(
                [
                    where,
                    picture.label,
                    evaluation.classes[predicted[i]],
                    f"{sure[i]:.6f}",
                    _word(predicted[i] == evaluation.targets[i]),
                    _word(sure[i] >= accept),
                    "" if np.isnan(novelty) else _word(novelty > strange),
                ]
            )


def _word(flag: object) -> str:
    return "true" if flag else "false"
