"""Advice: plain-language warnings as soon as something goes wrong in a training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from ilk.models.network import Network
from ilk.recipe import Recipe
from ilk.training.examples import Examples
from ilk.training.history import Row
from ilk.training.scoring import FEW_VAL, UNEQUAL

STALE_EPOCHS = 10
RISING_EPOCHS = 3
RISEN = 1.05  # ratio of val losses: smaller rises are noise
GUESSING_EPOCHS = 3
FIRST_EPOCHS = 5
FEW_PICTURES = 200
FAR_ABOVE_GUESSING = 5  # ratio to the loss of uniform guessing
MANY_PARAMETERS = 1000  # per picture: a head alone has fewer, any backbone more


class Advisor:
    """Recognises common problems of a training, and suggests remedies.

    Parameters
    ----------
    recipe : Recipe
        What it already sets is not suggested.
    """

    def __init__(self, examples: Examples, recipe: Recipe) -> None:
        counts = np.bincount(examples.targets[examples.train], minlength=len(examples.classes))
        self._classes = len(examples.classes)
        self._chance = float(counts.max() / counts.sum())
        self._balanced = bool(counts.max() <= UNEQUAL * counts.min())
        self._judges_by_val = len(examples.val) >= FEW_VAL
        self._recipe = recipe

    def new_warnings(self, rows: Sequence[Row]) -> list[str]:
        """Return the warnings that apply after the newest epoch and did not after the previous."""
        if not self._judges_by_val:
            rows = [replace(r, val_loss=None, val_accuracy=None, val_macro_f1=None) for r in rows]
        problems = (
            self._exploding,
            self._not_learning,
            self._guessing,
            self._overfitting,
            self._stale,
        )
        found = [(problem(rows), problem(rows[:-1])) for problem in problems]
        return [now for now, before in found if now and not before]

    def all_warnings(self, rows: Sequence[Row]) -> list[str]:
        """Return the warnings of all epochs."""
        ends = range(1, len(rows) + 1)
        return [warning for end in ends for warning in self.new_warnings(rows[:end])]

    def _suggested(self, **remedies: str) -> str:
        """Return the remedies, by field, that apply and that the recipe does not use yet."""
        recipe, defaults = self._recipe, type(self._recipe).model_fields
        unused = [
            remedy
            for field, remedy in remedies.items()
            if recipe.applies(field) and getattr(recipe, field) == defaults[field].default
        ]
        return ", ".join(unused)

    def _gentler(self) -> str:
        """Return what stabilises a high learning rate, unless it is already on."""
        rise = {"warmup": "--warmup 1"} if (self._recipe.epochs or 2) > 1 else {}
        return self._suggested(**rise, clip="--clip 1")

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
            f"The {kind} loss is {loss:.3g}; guessing would give {guessing:.2f}. The learning rate "
            f"({rows[-1].lr:.2g}) is too high. Give a smaller --lr; --lr-find suggests one."
            f"{' Or try ' + others + '.' if others else ''}"
        )

    def _not_learning(self, rows: Sequence[Row]) -> str | None:
        losses = [_or_infinite(row.loss) for row in rows[:FIRST_EPOCHS]]
        if len(losses) < FIRST_EPOCHS or min(losses[1:]) < losses[0]:
            return None
        gentler = self._gentler()
        return (
            f"The training loss has not fallen in the first {FIRST_EPOCHS} epochs: "
            f"{rows[0].loss:.3f} at first, {rows[FIRST_EPOCHS - 1].loss:.3f} now, at a learning "
            f"rate of {rows[FIRST_EPOCHS - 1].lr:.2g}. That is probably too high (if the loss "
            "jumps or grows) or too low (if it hardly moves). --lr-find suggests a value for --lr."
            f"{' High rates also need ' + gentler + '.' if gentler else ''}"
        )

    def _guessing(self, rows: Sequence[Row]) -> str | None:
        kind = "val" if any(row.val_accuracy is not None for row in rows) else "training"
        recipe = self._recipe
        if kind == "training" and (recipe.mixup or recipe.cutmix or recipe.sampling == "balanced"):
            return None  # the targets or their frequencies are not those of the labels
        found = [row.accuracy if kind == "training" else row.val_accuracy for row in rows]
        newest = [accuracy for accuracy in found if accuracy is not None][-GUESSING_EPOCHS:]
        if len(newest) < GUESSING_EPOCHS:
            return None
        chance = self._chance
        if self._balanced and self._classes == 2 and max(newest) < 0.5:
            than = "below 50 %: with two equal classes, worse than tossing a coin"
        elif max(newest) <= chance + 1e-9:
            than = f"no better than the {100 * chance:.1f} % of always predicting the largest class"
        else:
            return None
        return (
            f"After {rows[-1].epoch} epochs the {kind} accuracy is {100 * newest[-1]:.1f} %, "
            f"{than}. The labels may not match the pictures (mixed up, or named differently in "
            "train and val), or the learning rate is unsuitable. Check the labels with 'ilk "
            "check', and try --lr-find."
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
        suggested = self._suggested(
            mixup="--mixup 0.2",
            label_smoothing="--label-smoothing 0.1",
            weight_decay="--weight-decay 0.01",
            freeze="--freeze to train fewer layers",
            patience=f"--patience {RISING_EPOCHS}, which would stop here",
        )
        return (
            f"For {last.epoch - first.epoch} epochs the val loss has risen ({low:.3f} to "
            f"{high:.3f}) while the training loss fell ({first.loss:.3f} to {last.loss:.3f}): the "
            "network is overfitting the training pictures. More pictures "
            f"help most{'; otherwise try ' + suggested if suggested else ''}."
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
        stop = self._suggested(patience=f"--patience {STALE_EPOCHS}") if kind == "val" else ""
        return (
            f"The {kind} loss has not improved for {epoch - best_epoch} epochs: {best:.3f} in "
            f"epoch {best_epoch}, {loss:.3f} now. Training longer with these settings will "
            f"probably not help{' (' + stop + ' stops by itself)' if stop else ''}. Try a smaller "
            "--lr, another --model, or more pictures."
        )


def before_training(network: Network, pictures: int, recipe: Recipe) -> list[str]:
    """Return warnings before the first epoch.

    Parameters
    ----------
    network : Network
        Its parameters with gradients will be trained.
    pictures : int
        The number of training pictures.
    """
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    pretrained = recipe.mode != "scratch"
    if not pretrained or pictures >= FEW_PICTURES or trainable <= MANY_PARAMETERS * pictures:
        return []
    gentler = [] if recipe.layer_decay < 1 else ["--layer-decay 0.7"]
    gentler += [] if recipe.frozen_norms else ["--frozen-norms"]
    return [
        f"{trainable:,} parameters will be trained on only {pictures:,} pictures: the network may "
        "overfit, and forget what it learned in pretraining. Try --mode probe, or "
        "--freeze backbone; otherwise a small --lr"
        f"{' with ' + ' and '.join(gentler) if gentler else ''}."
    ]


def _or_infinite(loss: float | None) -> float:
    return math.inf if loss is None or math.isnan(loss) else loss
