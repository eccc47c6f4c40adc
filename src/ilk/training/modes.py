"""Modes: from which weights a training begins, and which of its results is kept."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ilk.data.catalog import Catalog
from ilk.data.split import roles
from ilk.errors import UsageError
from ilk.models.bundle import Bundle
from ilk.recipe import Recipe
from ilk.runtime import Progress, pick_device, silent
from ilk.training.cpu.precision import Precision, pick_precision
from ilk.training.distributed import ALONE, World
from ilk.training.examples import Examples, read_examples
from ilk.training.lr_find import RangeTest, range_test
from ilk.training.probe import train_probe
from ilk.training.progress.advice import Advisor
from ilk.training.scoring import FEW_VAL, Scores, chosen_metric, scores_of
from ilk.training.session import Sitting, answers, train_network
from ilk.training.start import from_pretrained, from_scratch, preprocess_for, refuse_misfit
from ilk.training.state import State
from ilk.training.trained import Trained

log = logging.getLogger("ilk")


def train_mode(
    catalog: Catalog,
    recipe: Recipe,
    folder: Path,
    resume: bool = False,
    progress: Progress = silent,
    world: World = ALONE,
) -> Trained:
    """Train by the loop, as the recipe's mode has it.

    Parameters
    ----------
    catalog : Catalog
        Digested, every picture with a label and a split.
    recipe : Recipe
    folder : Path
        The run's folder.
    resume : bool
        Whether to go on from its newest checkpoint.
    progress : Progress
    world : World
        The processes that train together.
    """
    seen = {p.digest: p.split or "" for p in catalog.pictures}
    sitting = Sitting(folder, _precision(recipe), resume, world, progress, seen)
    beginning = begin(catalog, recipe, sitting)
    state = train_network(beginning.start, beginning.examples, recipe, sitting)
    if beginning.probe is not None:
        return _better(beginning.probe, state, beginning.examples, recipe, sitting)
    return _trained(state, beginning.examples, recipe, sitting)


def find_rate(
    catalog: Catalog, recipe: Recipe, folder: Path, progress: Progress = silent
) -> RangeTest:
    """Look for a good learning rate, without training; see `ilk.training.lr_find`."""
    sitting = Sitting(folder, _precision(recipe), progress=progress)
    beginning = begin(catalog, recipe, sitting)
    return range_test(beginning.start, beginning.examples, recipe, sitting.precision, progress)


def setting_of(recipe: Recipe, world: World) -> dict[str, Any]:
    """Return what a training's bits depend on beside the recipe and the pictures."""
    precision = _precision(recipe)
    return {
        "processes": world.size,
        "device": precision.device.type,
        "precision": precision.name,
        "threads": torch.get_num_threads(),
    }


@dataclass(frozen=True)
class Beginning:
    """The weights that a training begins with, and what it learns from."""

    start: Bundle
    examples: Examples
    probe: Trained | None = None


def begin(catalog: Catalog, recipe: Recipe, sitting: Sitting) -> Beginning:
    """Make ready what the recipe's mode begins with.

    ``scratch``: random weights. ``guide``: a new head on a pretrained backbone. ``finetune``: the
    head is solved first (LP-FT, Kumar et al. 2022, arXiv 2202.10054).
    """
    preprocess = preprocess_for(catalog, recipe)
    if recipe.mode == "finetune":
        probe = _probe(_by_role(catalog, recipe), recipe, sitting)
        if scores := _scores(probe, catalog.classes):
            log.info("The probe: %s on %d held-out pictures. Now all layers are trained",
                     scores.told("accuracy"), scores.n)  # fmt: skip
        spec = probe.bundle.spec.model_copy(update={"views": recipe.views})
        examples = read_examples(catalog, preprocess, recipe, sitting.progress, sitting.world)
        return Beginning(replace(probe.bundle, spec=spec), examples, probe)
    if recipe.mode == "guide":
        start = from_pretrained(catalog.classes, preprocess, recipe)
        examples = read_examples(catalog, preprocess, recipe, sitting.progress, sitting.world)
        return Beginning(start, examples)
    examples = read_examples(catalog, preprocess, recipe, sitting.progress, sitting.world)
    return Beginning(from_scratch(examples, preprocess, recipe), examples)


def checked(
    catalog: Catalog, recipe: Recipe, asked: Collection[str] = (), world: World = ALONE
) -> Recipe:
    """Check, before the work begins, that a recipe fits the data, the network and the machine.

    Parameters
    ----------
    catalog : Catalog
    recipe : Recipe
    asked : collection of str
        The fields that someone asked for in person.
    world : World

    Returns
    -------
    Recipe
        With a batch that the training pictures fill.

    Raises
    ------
    UsageError
        It does not fit.
    """
    _precision(recipe)
    refuse_misfit(recipe)
    role = roles(catalog, recipe.val_share, recipe.seed)
    if recipe.patience and "val" not in role:
        raise UsageError("--patience needs pictures to judge by; give --val-share 0.1, say.")
    number = role.count("train")
    recipe = _with_fitting_batch(recipe, number, asked, world)
    if world.size > 1 and recipe.batch < 2 * world.size:
        raise UsageError(
            f"A batch of {recipe.batch}, of {number:,} pictures to train on, leaves some of the "
            f"{world.size} processes without a picture. Start fewer, or give a larger --batch."
        )
    return recipe


def _with_fitting_batch(
    recipe: Recipe, number: int, asked: Collection[str], world: World
) -> Recipe:
    """Return the recipe with a batch that the training pictures fill.

    Raises
    ------
    UsageError
        The batch is larger than they are many, and someone asked for it.
    """
    if recipe.batch * recipe.accumulate <= number:
        return recipe
    if "batch" in asked or recipe.accumulate > 1:
        times = f" times --accumulate {recipe.accumulate}" if recipe.accumulate > 1 else ""
        raise UsageError(
            f"--batch {recipe.batch}{times} is more than the {number:,} pictures to train on; "
            "give a smaller one."
        )
    batch = max(1, number // world.size) * world.size
    log.info("There are %d pictures to train on, less than a batch of %d: a batch is %d",
             number, recipe.batch, batch)  # fmt: skip
    return recipe.model_copy(update={"batch": batch})


def _precision(recipe: Recipe) -> Precision:
    return pick_precision(recipe.precision, pick_device(recipe.device))


def _probe(catalog: Catalog, recipe: Recipe, sitting: Sitting) -> Trained:
    """Solve the head on frozen features; of several processes, one does."""
    probing = recipe.model_copy(update={"precision": _for_probe(recipe.precision)})
    leads = sitting.world.leads
    probe = train_probe(catalog, probing, sitting.progress) if leads else None
    return cast(Trained, sitting.world.share(probe))


def _better(
    probe: Trained, state: State, examples: Examples, recipe: Recipe, sitting: Sitting
) -> Trained:
    """Return the probe or the fine-tuned network, whichever is better on pictures held out.

    If it is the probe, it is solved anew, on these pictures too.
    """
    metric = chosen_metric(recipe.metric, examples.targets[examples.train])
    before = _scores(probe, examples.classes)
    kept, why = _verdict(before, state, metric)
    log.info("Kept the %s: %s", kept, why)
    facts = {"kept": kept, "why": why, "probe": asdict(before) if before else None}
    if kept == "probe":
        training = _facts(state, examples, recipe, sitting)
        again = _probe(examples.catalog, recipe, sitting)
        return replace(again, facts={**training, **again.facts, **facts})
    trained = _trained(state, examples, recipe, sitting)
    return replace(trained, facts={**trained.facts, **facts})


def _for_probe(precision: str) -> str:
    return "auto" if precision == "fp16" else precision


def _by_role(catalog: Catalog, recipe: Recipe) -> Catalog:
    """Return the pictures to learn from and to choose by, as splits train and val."""
    role = roles(catalog, recipe.val_share, recipe.seed)
    pictures = [
        replace(p, split=part) for p, part in zip(catalog.pictures, role, strict=True) if part
    ]
    return replace(catalog, pictures=tuple(pictures))


def _scores(probe: Trained, classes: tuple[str, ...]) -> Scores | None:
    """Score the probe on the pictures to choose by."""
    held_out = probe.catalog.of("val")
    if not held_out:
        return None
    index = {label: k for k, label in enumerate(classes)}
    return scores_of(probe.reported.logits, np.array([index[str(p.label)] for p in held_out]))


def _verdict(probe: Scores | None, state: State, metric: str) -> tuple[str, str]:
    """Say which is kept, probe or finetune, and why."""
    if probe is None or state.best is None:
        return "finetune", "no pictures are held out to compare it with the probe"
    tuned = state.best.scores
    compared = (
        f"{tuned.told(metric)} after epoch {state.best.epoch}, the probe {probe.value(metric)}, "
        f"on {tuned.n:,} held-out pictures"
    )
    if metric != "loss" and getattr(tuned, metric) == getattr(probe, metric):
        compared += f"; as {tuned.told('loss')} and {probe.value('loss')} decide"
    if tuned.n < FEW_VAL:
        compared += "; so few say little"
    if tuned.better_than(probe, metric):
        return "finetune", compared
    return "probe", f"training all layers did not beat it: {compared}"


def _trained(state: State, examples: Examples, recipe: Recipe, sitting: Sitting) -> Trained:
    bundle = state.bundle()
    reported, held_out, known = answers(bundle, examples, recipe, sitting, state.pieces)
    rest = examples.less_unreadable(recipe.max_unreadable, sitting.world)
    facts = _facts(state, examples, recipe, sitting)
    return Trained(bundle, rest, reported, held_out, known, facts)


def _facts(state: State, examples: Examples, recipe: Recipe, sitting: Sitting) -> dict[str, Any]:
    return {
        "engine": f"pytorch, {sitting.precision.device}, {sitting.precision.name}",
        "epochs": len(state.history),
        "best_epoch": state.best.epoch if state.best else None,
        "best": asdict(state.best.scores) if state.best else None,
        "training_seconds": round(state.seconds, 3),
        "earlier_seconds": round(state.earlier, 3),
        "astray": state.astray or None,
        "remarks": Advisor(examples, recipe).in_all(state.history),
    }
