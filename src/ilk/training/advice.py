"""Advice: what goes wrong in a training, said in plain words when it begins."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from ilk.training.history import Row

STALE_EPOCHS = 10
RISING_EPOCHS = 3
GUESSING_EPOCHS = 3
FIRST_EPOCHS = 5
FEW_PICTURES = 200
MANY_PARAMETERS = 1000  # a picture: a head on frozen features has fewer, any whole backbone more


def advice(rows: Sequence[Row], classes: int, balanced: bool, chance: float) -> list[str]:
    """Return what is worth saying after the newest epoch and was not after the one before.

    Parameters
    ----------
    rows : sequence of Row
        All epochs so far.
    classes : int
    balanced : bool
        Whether the classes are about equally large.
    chance : float
        The share of the largest class: the accuracy of who always says that one.
    """

    def no_better_than_guessing(rows: Sequence[Row]) -> str | None:
        return _guessing(rows, chance, coin=balanced and classes == 2)

    troubles: list[Callable[[Sequence[Row]], str | None]] = [
        _not_learning,
        no_better_than_guessing,
        _overfitting,
        _stale,
    ]
    found = [(trouble(rows), trouble(rows[:-1])) for trouble in troubles]
    return [now for now, before in found if now and not before]


def before_training(
    trainable: int, pictures: int, pretrained: bool, frozen_norms: bool
) -> list[str]:
    """Return what is worth saying before the first epoch.

    Parameters
    ----------
    trainable : int
        Parameters that will be trained.
    pictures : int
        Training pictures.
    pretrained : bool
        Whether the backbone knows something that it could forget.
    frozen_norms : bool
        Whether batch norms keep their statistics.
    """
    if not pretrained or pictures >= FEW_PICTURES or trainable <= MANY_PARAMETERS * pictures:
        return []
    norms = "" if frozen_norms else ", --frozen-norms"
    return [
        f"{trainable:,} parameters will be trained on {pictures:,} pictures: so few may make the "
        "backbone forget what it learned before, and learn these by heart. Try --mode probe, or "
        f"--freeze backbone; else a small --lr with --layer-decay 0.7{norms}."
    ]


def _not_learning(rows: Sequence[Row]) -> str | None:
    losses = [_or_infinite(row.loss) for row in rows[:FIRST_EPOCHS]]
    if len(losses) < FIRST_EPOCHS or min(losses[1:]) < losses[0]:
        return None
    return (
        f"The training loss has not fallen in the first {FIRST_EPOCHS} epochs: {rows[0].loss:.3f} "
        f"at first, {rows[FIRST_EPOCHS - 1].loss:.3f} now, at a rate of "
        f"{rows[FIRST_EPOCHS - 1].rate:.2g}. The rate is probably too high (if the loss jumps or "
        "grows) or too low (if it hardly moves). Try --lr-find, which measures a good one, and "
        "give that with --lr; --warmup 1 or --clip 1 help at high rates."
    )


def _guessing(rows: Sequence[Row], chance: float, *, coin: bool) -> str | None:
    kind = "val" if any(row.val_accuracy is not None for row in rows) else "training"
    found = [row.accuracy if kind == "training" else row.val_accuracy for row in rows]
    newest = [accuracy for accuracy in found if accuracy is not None][-GUESSING_EPOCHS:]
    if len(newest) < GUESSING_EPOCHS:
        return None
    if coin and max(newest) < 0.5:
        than = "below 50 %, so on two equal classes it is wrong more often than a coin"
    elif max(newest) <= chance + 1e-9:
        than = f"not above the {100 * chance:.1f} % of always saying the largest class"
    else:
        return None
    return (
        f"After {rows[-1].epoch} epochs the {kind} accuracy is {100 * newest[-1]:.1f} %, {than}. "
        "The labels may not belong to the pictures (mixed up, or named otherwise in train and "
        "val), or the rate does not suit. Look at the labels with 'ilk check', and try --lr-find."
    )


def _overfitting(rows: Sequence[Row]) -> str | None:
    scored = [(row, row.val_loss) for row in rows if row.val_loss is not None]
    window = scored[-RISING_EPOCHS - 1 :]
    if len(window) <= RISING_EPOCHS:
        return None
    (first, low), (last, high) = window[0], window[-1]
    rising = all(later > earlier for (_, earlier), (_, later) in pairwise(window))
    if not (rising and last.loss < first.loss):
        return None
    return (
        f"For {last.epoch - first.epoch} epochs the val loss has risen ({low:.3f} to {high:.3f}) "
        f"while the training loss fell ({first.loss:.3f} to {last.loss:.3f}): the network begins "
        "to learn the training pictures by heart (overfitting). More pictures help most; else try "
        "--augment trivial, --mixup 0.2, --label-smoothing 0.1, more --weight-decay or, with "
        "pretrained weights, --freeze to train fewer layers. --patience "
        f"{RISING_EPOCHS} would stop here."
    )


def _stale(rows: Sequence[Row]) -> str | None:
    scored = [row for row in rows if row.val_loss is not None]
    kind, losses = "val", [(row.epoch, _or_infinite(row.val_loss)) for row in scored]
    if not losses:
        kind, losses = "training", [(row.epoch, _or_infinite(row.loss)) for row in rows]
    if not losses:
        return None
    (best_epoch, best), (epoch, loss) = min(losses, key=lambda x: x[1]), losses[-1]
    if epoch - best_epoch < STALE_EPOCHS:
        return None
    stop = f" --patience {STALE_EPOCHS} stops by itself then." if kind == "val" else ""
    return (
        f"The {kind} loss has not improved for {epoch - best_epoch} epochs: {best:.3f} in epoch "
        f"{best_epoch}, {loss:.3f} now. With these settings there is probably nothing more to "
        f"learn.{stop} Try a smaller --lr, --schedule cosine, another --model, or more pictures."
    )


def _or_infinite(loss: float | None) -> float:
    return math.inf if loss is None or math.isnan(loss) else loss
