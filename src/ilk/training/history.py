"""History: what is known of each epoch, as a table and as the lines that people watch."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ilk.runtime import write_whole


@dataclass(frozen=True)
class Row:
    """One epoch.

    Attributes
    ----------
    epoch : int
        From 1.
    step : int
        Steps done since the beginning.
    seconds : float
        Time spent since the beginning.
    rate : float
        The learning rate of the epoch's last step.
    loss, accuracy : float
        Of the training pictures as they were augmented, mean over the epoch; loss in nats.
    val_loss, val_accuracy, val_macro_f1 : float or None
        None where no pictures are held out to choose by.
    pictures_per_second : float
        Training pictures.
    """

    epoch: int
    step: int
    seconds: float
    rate: float
    loss: float
    accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    val_macro_f1: float | None
    pictures_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold; `from_dict` gives back exactly this row."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Row:
        """Return the row that `to_dict` made the record of."""
        return cls(**record)


History = list[Row]


def write_history(rows: Sequence[Row], path: Path) -> None:
    """Write a CSV with a header, whole or not at all; what is None stays empty."""
    text = io.StringIO()
    table = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    table.writeheader()
    table.writerows(row.to_dict() for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.getvalue().encode())


def told(row: Row, epochs: int, seconds_left: float | None) -> str:
    """Return the line that is printed after an epoch; successive lines form a table.

    Parameters
    ----------
    row : Row
    epochs : int
        How many there will be.
    seconds_left : float or None
        Until the training ends; nothing is said of it if it is None, 0 or not finite.
    """
    digits = len(str(epochs))
    parts = [
        f"epoch {row.epoch:>{digits}}/{epochs}",
        f"loss {_in_five(row.loss)}",
        f"accuracy {100 * row.accuracy:5.1f} %",
        "" if row.val_loss is None else f"val loss {_in_five(row.val_loss)}",
        "" if row.val_accuracy is None else f"val accuracy {100 * row.val_accuracy:5.1f} %",
        f"rate {row.rate:<#8.3g}",
        f"{_speed(row.pictures_per_second):>6} pictures/s",
    ]
    if seconds_left and math.isfinite(seconds_left):
        parts.append(f"{duration(seconds_left)} left")
    return "   ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    """Return a time as people say it: ``45 s``, ``2 min``, ``1 h 5 min``."""
    if (whole := max(0, round(seconds))) < 60:
        return f"{whole} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join([f"{hours} h"] * (hours > 0) + [f"{minutes} min"] * (minutes > 0))


def _in_five(value: float) -> str:
    """Return a loss in five characters, so that a bad one does not shift the table."""
    for decimals in (3, 2, 1, 0):
        if len(text := f"{value:.{decimals}f}") <= 5:
            return text.rjust(5)
    return f"{value:.0e}"


def _speed(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
