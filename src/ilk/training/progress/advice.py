"""Advice: what goes wrong in a training, said in plain words when it begins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from ilk.recipe import Recipe
from ilk.training.examples import Examples
from ilk.training.history import Row
from ilk.training.scoring import FEW_VAL, UNEQUAL

STALE_EPOCHS = 10
RISING_EPOCHS = 3
RISEN = 1.05  # times what the val loss was: less than that is chance
GUESSING_EPOCHS = 3
FIRST_EPOCHS = 5
FEW_PICTURES = 200
FAR_ABOVE_GUESSING = 5  # times the loss of a network that knows nothing
MANY_PARAMETERS = 1000  # a picture: a head on frozen features has fewer, any whole backbone more


class Advisor:
    """Knows what the trouble of a training may be, and what can still be done about it.

    Parameters
    ----------
    examples : Examples
    recipe : Recipe
        What it already sets is not proposed.
    """

    def __init__(self, examples: Examples, recipe: Recipe) -> None:
        counts = np.bincount(examples.targets[examples.train], minlength=len(examples.classes))
        self._classes = len(examples.classes)
        self._chance = float(counts.max() / counts.sum())
        self._balanced = bool(counts.max() <= UNEQUAL * counts.min())
        self._judges_by_val = len(examples.val) >= FEW_VAL
        self._recipe = recipe

    def after(self, rows: Sequence[Row]) -> list[str]:
        """Return what is worth saying after the newest epoch and was not after the one before."""
        if not self._judges_by_val:
            rows = [replace(r, val_loss=None, val_accuracy=None, val_macro_f1=None) for r in rows]
        troubles = (
            self._exploding,
            self._not_learning,
            self._guessing,
            self._overfitting,
            self._stale,
        )
        found = [(trouble(rows), trouble(rows[:-1])) for trouble in troubles]
        return [now for now, before in found if now and not before]

    def in_all(self, rows: Sequence[Row]) -> list[str]:
        """Return all that was worth saying, epoch by epoch."""
        return [said for end in range(1, len(rows) + 1) for said in self.after(rows[:end])]

    def _proposed(self, **remedies: str) -> str:
        """Return those remedies, by field, that the recipe does not use yet and that apply."""
        recipe, usual = self._recipe, type(self._recipe).model_fields
        unused = [
            remedy
            for field, remedy in remedies.items()
            if recipe.applies(field) and getattr(recipe, field) == usual[field].default
        ]
        return ", ".join(unused)

    def _gentler(self) -> str:
        """Return what makes a high rate bearable, as far as it is not on."""
        rise = {"warmup": "--warmup 1"} if (self._recipe.epochs or 2) > 1 else {}
        return self._proposed(**rise, clip="--clip 1")

    def _exploding(self, rows: Sequence[Row]) -> str | None:
        if not rows:
            return None
        guessing = math.log(self._classes)
        kind, loss = "training", _or_infinite(rows[-1].loss)
        if rows[-1].val_loss is not None and rows[-1].val_loss > loss:
            kind, loss = "val", rows[-1].val_loss
        if loss <= FAR_ABOVE_GUESSING * guessing:
            return None
        others = self._gentler()
        return (
            f"The {kind} loss is {loss:.3g}; a network that knows nothing has {guessing:.2f}. The "
            f"rate ({rows[-1].rate:.2g}) is too high. Give a smaller --lr; --lr-find looks for "
            f"one.{' Else try ' + others + '.' if others else ''}"
        )

    def _not_learning(self, rows: Sequence[Row]) -> str | None:
        losses = [_or_infinite(row.loss) for row in rows[:FIRST_EPOCHS]]
        if len(losses) < FIRST_EPOCHS or min(losses[1:]) < losses[0]:
            return None
        gentler = self._gentler()
        return (
            f"The training loss has not fallen in the first {FIRST_EPOCHS} epochs: "
            f"{rows[0].loss:.3f} at first, {rows[FIRST_EPOCHS - 1].loss:.3f} now, at a rate of "
            f"{rows[FIRST_EPOCHS - 1].rate:.2g}. The rate is probably too high (if the loss jumps "
            "or grows) or too low (if it hardly moves). Try --lr-find, which measures a good one, "
            "and give that with --lr."
            f"{' Or ' + gentler + ', for high rates.' if gentler else ''}"
        )

    def _guessing(self, rows: Sequence[Row]) -> str | None:
        kind = "val" if any(row.val_accuracy is not None for row in rows) else "training"
        recipe = self._recipe
        if kind == "training" and (recipe.mixup or recipe.cutmix or recipe.sampling == "balanced"):
            return None  # other classes, or others as often, than the labels say
        found = [row.accuracy if kind == "training" else row.val_accuracy for row in rows]
        newest = [accuracy for accuracy in found if accuracy is not None][-GUESSING_EPOCHS:]
        if len(newest) < GUESSING_EPOCHS:
            return None
        chance = self._chance
        if self._balanced and self._classes == 2 and max(newest) < 0.5:
            than = "below 50 %, so on two equal classes it is wrong more often than a coin"
        elif max(newest) <= chance + 1e-9:
            than = f"not above the {100 * chance:.1f} % of always saying the largest class"
        else:
            return None
        return (
            f"After {rows[-1].epoch} epochs the {kind} accuracy is {100 * newest[-1]:.1f} %, "
            f"{than}. The labels may not belong to the pictures (mixed up, or named otherwise in "
            "train and val), or the rate does not suit. Look at the labels with 'ilk check', and "
            "try --lr-find."
        )

    def _overfitting(self, rows: Sequence[Row]) -> str | None:
        scored = [(row, row.val_loss) for row in rows if row.val_loss is not None]
        window = scored[-RISING_EPOCHS - 1 :]
        if len(window) <= RISING_EPOCHS:
            return None
        (first, low), (last, high) = window[0], window[-1]
        rising = all(later > earlier for (_, earlier), (_, later) in pairwise(window))
        if not (rising and high > RISEN * low and last.loss < first.loss):
            return None
        proposed = self._proposed(
            mixup="--mixup 0.2",
            label_smoothing="--label-smoothing 0.1",
            weight_decay="--weight-decay 0.01",
            freeze="--freeze to train fewer layers",
            patience=f"--patience {RISING_EPOCHS}, which would stop here",
        )
        return (
            f"For {last.epoch - first.epoch} epochs the val loss has risen ({low:.3f} to "
            f"{high:.3f}) while the training loss fell ({first.loss:.3f} to {last.loss:.3f}): the "
            "network begins to learn the training pictures by heart (overfitting). More pictures "
            f"help most{'; else try ' + proposed if proposed else ''}."
        )

    def _stale(self, rows: Sequence[Row]) -> str | None:
        scored = [row for row in rows if row.val_loss is not None]
        kind, losses = "val", [(row.epoch, _or_infinite(row.val_loss)) for row in scored]
        if not losses:
            kind, losses = "training", [(row.epoch, _or_infinite(row.loss)) for row in rows]
        if not losses:
            return None
        (best_epoch, best), (epoch, loss) = min(losses, key=lambda x: x[1]), losses[-1]
        if epoch - best_epoch < STALE_EPOCHS:
            return None
        stop = self._proposed(patience=f"--patience {STALE_EPOCHS}") if kind == "val" else ""
        return (
            f"The {kind} loss has not improved for {epoch - best_epoch} epochs: {best:.3f} in "
            f"epoch {best_epoch}, {loss:.3f} now. With these settings there is probably nothing "
            f"more to learn.{' ' + stop + ' stops by itself then.' if stop else ''} Try a smaller "
            "--lr, another --model, or more pictures."
        )


def before_training(
    trainable: int, pictures: int, pretrained: bool, frozen_norms: bool, layer_decay: float
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
    layer_decay : float
        Factor of the rates from layer to layer.
    """
    if not pretrained or pictures >= FEW_PICTURES or trainable <= MANY_PARAMETERS * pictures:
        return []
    gentle = [] if layer_decay < 1 else ["--layer-decay 0.7"]
    gentle += [] if frozen_norms else ["--frozen-norms"]
    return [
        f"{trainable:,} parameters will be trained on {pictures:,} pictures: so few may make the "
        "backbone forget what it learned before, and learn these by heart. Try --mode probe, or "
        f"--freeze backbone; else a small --lr{' with ' + ' and '.join(gentle) if gentle else ''}."
    ]


def _or_infinite(loss: float | None) -> float:
    return math.inf if loss is None or math.isnan(loss) else loss
