from __future__ import annotations

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ilk import recipes
from ilk.recipe import Recipe
from ilk.training.examples import Examples
from ilk.training.history import Row
from ilk.training.progress.advice import Advisor, before_training

FLAG = re.compile(r"--([a-z-]+)")


def training(losses, val_losses=None, accuracies=None, val_accuracies=None, lr=0.01):
    number = len(losses)
    return [
        Row(
            epoch=i + 1,
            step=10 * (i + 1),
            seconds=i,
            lr=lr,
            loss=losses[i],
            accuracy=(accuracies or [0.9] * number)[i],
            val_loss=val_losses[i] if val_losses else None,
            val_accuracy=val_accuracies[i] if val_accuracies else (0.9 if val_losses else None),
            val_macro_f1=None,
            pictures_per_second=100,
        )
        for i in range(number)
    ]


def advisor(classes=2, shares=None, val=100, **fields):
    """Return an advisor on 1,000 training pictures; ``shares`` are those of the classes."""
    counts = [round(1000 * share) for share in shares or [1 / classes] * classes]
    targets = np.repeat(np.arange(classes), counts)
    names = tuple(map(str, range(classes)))
    rows = np.arange(len(targets))
    examples = Examples(None, None, targets, rows, np.arange(val), rows[:0], names)
    return Advisor(examples, recipes.load(**{"mode": "guide", **fields}))


def warned(rows, **given):
    """Return (epoch, message) for all warnings of a whole training."""
    ask = advisor(**given)
    found = [(n, text) for n in range(1, len(rows) + 1) for text in ask.new_warnings(rows[:n])]
    assert [text for _, text in found] == ask.all_warnings(rows)
    return found


def network_of(parameters):
    """Return what counts as a network with so many parameters."""
    tensor = torch.empty(parameters, device="meta", requires_grad=True)
    return SimpleNamespace(parameters=lambda: [tensor])


def falling(number, start=0.7):
    return [start * 0.9**i for i in range(number)]


def test_nothing_is_said_of_a_training_that_goes_well():
    assert warned(training(falling(30), falling(30, 0.8))) == []
    assert advisor().new_warnings([]) == []


@pytest.mark.parametrize("kind", ["val", "training"])
def test_a_loss_that_does_not_improve_for_ten_epochs_is_told_once(kind):
    stuck = [0.5, 0.4, 0.3] + [0.35 - 0.001 * i for i in range(20)]
    rows = training(falling(23), stuck) if kind == "val" else training(stuck)
    [(epoch, message)] = warned(rows)
    assert epoch == 13
    assert f"{kind} loss has not improved for 10 epochs: 0.300 in epoch 3, 0.341 now" in message
    assert ("--patience 10" in message) == (kind == "val")


def test_a_trouble_that_comes_again_is_told_again():
    stuck = [0.5] + [0.6] * 11 + [0.4] + [0.6] * 11
    assert [epoch for epoch, _ in warned(training(stuck)) if epoch > 5] == [11, 23]


def test_overfitting_is_told_when_it_begins():
    val = [0.6, 0.5, 0.4, 0.41, 0.45, 0.52, 0.6, 0.7]
    [(epoch, message)] = warned(training(falling(8), val))
    assert epoch == 6
    assert "For 3 epochs the val loss has risen (0.400 to 0.520)" in message
    assert "training loss fell (0.567 to 0.413)" in message
    assert "overfitting" in message


def test_val_loss_that_rises_together_with_training_loss_is_no_overfitting():
    val = [0.6, 0.5, 0.4, 0.41, 0.45, 0.52]
    assert warned(training([0.6, 0.5, 0.4, 0.5, 0.6, 0.7], val)) == []


def test_val_loss_that_goes_up_and_down_is_no_overfitting():
    assert warned(training(falling(8), [0.5, 0.4, 0.45, 0.43, 0.46, 0.44, 0.5, 0.51])) == []


def test_worse_than_a_coin_is_told_after_three_epochs():
    low = [0.4, 0.42, 0.31, 0.3, 0.3]
    [(epoch, message)] = warned(training(falling(5), falling(5), val_accuracies=low))
    assert epoch == 3
    assert "After 3 epochs the val accuracy is 31.0 %, below 50 %" in message
    assert "ilk check" in message
    assert "--lr-find" in message


def test_training_accuracy_counts_where_there_is_no_val():
    [(epoch, message)] = warned(training(falling(4), accuracies=[0.4] * 4))
    assert epoch == 3
    assert "training accuracy is 40.0 %" in message
    good = training(falling(4), falling(4), accuracies=[0.4] * 4, val_accuracies=[0.8] * 4)
    assert warned(good) == []


def test_saying_the_largest_class_always_is_not_learning():
    rows = training(falling(4), falling(4), val_accuracies=[0.7] * 4)
    [(epoch, message)] = warned(rows, classes=5, shares=[0.7, 0.1, 0.1, 0.05, 0.05])
    assert epoch == 3
    assert "70.0 % of always predicting the largest class" in message
    assert warned(rows, classes=5, shares=[0.69, 0.11, 0.1, 0.05, 0.05]) == []


def test_a_coin_matters_on_two_balanced_classes_only():
    rows = training(falling(4), accuracies=[0.4] * 4)
    assert warned(rows, classes=10) == []
    assert warned(rows, classes=3, shares=[0.39, 0.32, 0.29]) == []


def test_one_good_epoch_of_the_last_three_is_enough():
    rows = training(falling(4), accuracies=[0.2, 0.6, 0.4, 0.6])
    assert warned(rows) == []


@pytest.mark.parametrize("losses", [[0.69, 0.7, 0.71, 0.7, 0.69], [0.7] * 5])
def test_a_loss_that_never_fell_is_told_after_five_epochs(losses):
    [(epoch, message)] = warned(training([*losses, 0.8, 0.9], lr=0.25))
    assert epoch == 5
    assert "first 5 epochs" in message
    assert "rate of 0.25" in message
    assert "--lr-find" in message


def test_a_loss_that_fell_and_rose_again_did_fall():
    assert warned(training([0.7, 0.69, 0.8, 0.9, 1.0, 1.1])) == []


@pytest.mark.parametrize(
    ("losses", "val", "kind"),
    [([0.6, 9.0], [0.6, 0.7], "training"), ([0.6, 0.5], [0.6, 343.0], "val"),
     ([0.6, math.nan], [0.6, 0.7], "training")],
)  # fmt: skip
def test_a_loss_that_bursts_is_warned(losses, val, kind):
    [(epoch, message)] = warned(training(losses, val, lr=0.5))
    assert epoch == 2
    assert f"The {kind} loss is " in message
    assert "guessing would give 0.69. The learning rate (0.5) is too high" in message
    assert "--warmup 1, --clip 1" in message


def test_what_is_on_already_is_not_proposed():
    val = [0.6, 0.5, 0.4, 0.41, 0.45, 0.52]
    [(_, without)] = warned(training(falling(6), val))
    assert all(flag in without for flag in ("--mixup", "--label-smoothing"))
    [(_, message)] = warned(training(falling(6), val), mixup=0.4, label_smoothing=0.1)
    assert "--mixup" not in message
    assert "--label-smoothing" not in message
    [(_, burst)] = warned(training([9.0], [9.0]), clip=1, warmup=1)
    assert "--clip" not in burst


def test_what_does_not_apply_to_the_mode_is_not_proposed():
    [(_, message)] = warned(training(falling(6), [0.6, 0.5, 0.4, 0.41, 0.45, 0.52]), mode="scratch")
    assert "--freeze" not in message


def test_scores_of_a_handful_of_pictures_are_no_reason_for_advice():
    val = [0.6, 0.5, 0.4, 0.41, 0.45, 0.52]
    assert warned(training(falling(6), val, val_accuracies=[0.3] * 6), val=29) == []


def test_a_val_loss_that_hardly_rises_is_no_overfitting():
    assert warned(training(falling(5), [0.4, 0.401, 0.402, 0.403, 0.404])) == []


def test_many_parameters_on_few_pictures_are_told_before():
    network = network_of(3_371_008)
    [message] = before_training(network, 150, Recipe(mode="guide"))
    assert "3,371,008 parameters will be trained on only 150 pictures" in message
    assert "--mode probe" in message
    assert "with --layer-decay 0.7 and --frozen-norms." in message
    gentle = Recipe(mode="guide", frozen_norms=True, layer_decay=0.8)
    [message] = before_training(network, 150, gentle)
    assert message.endswith("otherwise a small --lr.")


@pytest.mark.parametrize(
    ("trainable", "pictures", "mode"),
    [
        (3_371_008, 200, "guide"),
        (3_371_008, 150, "scratch"),
        (1280 * 100, 150, "guide"),
        (2562, 20, "guide"),
    ],
)
def test_enough_pictures_a_fresh_network_or_a_frozen_backbone_are_fine(trainable, pictures, mode):
    assert before_training(network_of(trainable), pictures, Recipe(mode=mode)) == []


def test_every_flag_that_is_recommended_exists():
    val = [0.3, 0.4, 0.5, 0.6] + [0.7] * 10
    rows = [
        *warned(training([0.7] * 14, val, val_accuracies=[0.4] * 14)),
        *warned(training(falling(14), val)),
        *warned(training([0.7] * 14)),
    ]
    messages = [message for _, message in rows]
    messages += before_training(network_of(10**7), 50, Recipe(mode="guide"))
    flags = {flag for message in messages for flag in FLAG.findall(message)}
    assert len(flags) >= 12
    assert {flag.replace("-", "_") for flag in flags} - set(Recipe.model_fields) == {"lr_find"}
