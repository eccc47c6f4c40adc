"""History: the record of each epoch, as a table and as the line printed after it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

from ilk.folder import write_csv
from ilk.text import duration


@dataclass(frozen=True)
class Row:
    """The record of one epoch.

    Attributes
    ----------
    epoch : int
        From 1.
    step : int
        Steps done since the start.
    seconds : float
        Time spent since the start.
    lr : float
        The learning rate of the epoch's last step.
    loss, accuracy : float
        On the augmented training pictures, averaged over the epoch; loss in nats.
    val_loss, val_accuracy, val_macro_f1 : float or None
        None if there are no validation pictures.
    pictures_per_second : float
        Training pictures.
    """

    epoch: int
    step: int
    seconds: float
    lr: float
    loss: float
    accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    val_macro_f1: float | None
    pictures_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """Return a record for JSON; `from_dict` restores exactly this row from it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Row:
        """Return the row of a record by `to_dict`; early versions called ``lr`` ``rate``."""
        return cls(**{"lr" if key == "rate" else key: value for key, value in record.items()})


def write_history(rows: Sequence[Row], path: Path) -> None:
    """Write a CSV with a header, completely or not at all; None becomes an empty cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path, [field.name for field in fields(Row)], map(astuple, rows), end="\n")


def epoch_line(row: Row, epochs: int, seconds_left: float | None) -> str:
    """Return the line that is printed after an epoch; successive lines form a table.

    Parameters
    ----------
    epochs : int
        The total number of epochs.
    seconds_left : float or None
        Until the training ends; left out if it is None, 0 or not finite.
    """
    digits = len(str(epochs))
    parts = [
        f"epoch {row.epoch:>{digits}}/{epochs}",
        f"loss {_five_characters(row.loss)}",
        f"accuracy {100 * row.accuracy:5.1f} %",
        "" if row.val_loss is None else f"val loss {_five_characters(row.val_loss)}",
        "" if row.val_accuracy is None else f"val accuracy {100 * row.val_accuracy:5.1f} %",
        f"lr {row.lr:<#8.3g}",
        f"{_speed(row.pictures_per_second):>6} pictures/s",
    ]
    if seconds_left and math.isfinite(seconds_left):
        parts.append(f"{duration(seconds_left)} left")
    return "   ".join(part for part in parts if part)


def _five_characters(value: float) -> str:
    """Return a loss in five characters, so that a large one does not shift the table."""
    for decimals in (3, 2, 1, 0):
        if len(text := f"{value:.{decimals}f}") <= 5:
            return text.rjust(5)
    return f"{value:.0e}"


def _speed(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
