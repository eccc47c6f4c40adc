"""Modes: which weights the training loop starts from, and which model is kept in the end."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Literal

from ilk.data.catalog import Catalog, class_indices
from ilk.data.split import roles, to_learn_from
from ilk.models.bundle import Bundle
from ilk.recipe import Recipe
from ilk.training.examples import Examples, read_examples
from ilk.training.initial_weights import from_pretrained, from_scratch, preprocess_for
from ilk.training.plan import Plan
from ilk.training.probe import train_probe
from ilk.training.progress.advice import Advisor
from ilk.training.result import Choice, LoopFacts, TrainingFacts, TrainingResult
from ilk.training.scoring import FEW_VAL, Scores, chosen_metric, scores_of
from ilk.training.state import State
from ilk.training.train_network import final_outputs, train_network

log = logging.getLogger("ilk")


@dataclass(frozen=True)
class InitialState:
    """What a training starts from: the weights, the examples, and the probe if there is one."""

    bundle: Bundle
    examples: Examples
    probe: TrainingResult | None = None


def run(plan: Plan) -> TrainingResult:
    """Train by the loop; of a fine-tuned network and its probe, return the better one."""
    start = initial_state(plan)
    state = train_network(start.bundle, start.examples, plan)
    if start.probe is None:
        return _result(state, start.examples, plan)
    before = _val_scores(start.probe, start.examples.classes)
    metric = chosen_metric(plan.recipe.metric, start.examples.targets[start.examples.train])
    kept, why = _better(before, state, metric)
    log.info("Kept the %s: %s", kept, why)
    choice = Choice(kept, why, before)
    if kept == "finetune":
        result = _result(state, start.examples, plan)
        return replace(result, facts=replace(result.facts, choice=choice))
    probe = _probe(to_learn_from(plan.catalog), plan)  # solved again, as the default would be
    loop = _facts(state, start.examples, plan)
    facts = replace(loop, engine=probe.facts.engine, head=probe.facts.head, choice=choice)
    return replace(probe, facts=facts)


def initial_state(plan: Plan) -> InitialState:
    """Prepare the weights that the recipe's mode starts from, and decode the pictures.

    ``scratch``: random weights. ``guide``: a new head on a pretrained backbone. ``finetune``: the
    head is solved first (LP-FT, Kumar et al. 2022, arXiv 2202.10054).
    """
    recipe, catalog = plan.recipe, plan.catalog
    preprocess = preprocess_for(catalog, recipe)
    probe = None
    if recipe.mode == "finetune":
        probe = _probe(_train_and_val(catalog, recipe), plan)
        if scores := _val_scores(probe, catalog.classes):
            log.info(
                "The probe: %s on %d held-out pictures. Now fine-tuning all layers",
                scores.text("accuracy"), scores.n,
            )  # fmt: skip
        spec = probe.bundle.spec.model_copy(update={"views": recipe.tta_views})
        bundle = replace(probe.bundle, spec=spec)
    elif recipe.mode == "guide":
        bundle = from_pretrained(catalog.classes, preprocess, recipe)
    examples = read_examples(catalog, preprocess, recipe, plan.progress, plan.world)
    if recipe.mode == "scratch":
        bundle = from_scratch(examples, preprocess, recipe)
    return InitialState(bundle, examples, probe)


def _probe(catalog: Catalog, plan: Plan) -> TrainingResult:
    """Solve the head on frozen features, in the main process."""
    precision = "auto" if plan.recipe.precision == "fp16" else plan.recipe.precision
    recipe = plan.recipe.model_copy(update={"precision": precision})
    return plan.world.broadcast(lambda: train_probe(catalog, recipe, plan.progress))


def _train_and_val(catalog: Catalog, recipe: Recipe) -> Catalog:
    """Return the pictures to learn from and to choose by, as splits train and val."""
    role = roles(catalog, recipe.val_share, recipe.seed)
    pictures = [
        replace(p, split=part) for p, part in zip(catalog.pictures, role, strict=True) if part
    ]
    return replace(catalog, pictures=tuple(pictures))


def _val_scores(probe: TrainingResult, classes: tuple[str, ...]) -> Scores | None:
    """Score the probe on the validation pictures."""
    val = probe.catalog.of("val")
    if not val:
        return None
    return scores_of(probe.evaluated.logits, class_indices(val, classes))


def _better(
    probe: Scores | None, state: State, metric: str
) -> tuple[Literal["probe", "finetune"], str]:
    """Return which model is kept, and why."""
    if probe is None or state.best is None:
        return "finetune", "no pictures are held out to compare it with the probe"
    tuned = state.best.scores
    comparison = (
        f"{tuned.text(metric)} after epoch {state.best.epoch}, the probe {probe.value(metric)}, "
        f"on {tuned.n:,} held-out pictures"
    )
    if metric != "loss" and getattr(tuned, metric) == getattr(probe, metric):
        comparison += f"; a tie, decided by {tuned.text('loss')} against {probe.value('loss')}"
    if tuned.n < FEW_VAL:
        comparison += "; with so few, the difference means little"
    if tuned.better_than(probe, metric):
        return "finetune", comparison
    return "probe", f"fine-tuning all layers did not beat it: {comparison}"


def _result(state: State, examples: Examples, plan: Plan) -> TrainingResult:
    bundle = state.bundle()
    evaluated, held_out, train_sample = final_outputs(bundle, examples, plan, state.micro_batches)
    catalog = examples.readable_catalog(plan.recipe.max_unreadable, plan.world)
    facts = _facts(state, examples, plan)
    return TrainingResult(bundle, catalog, evaluated, held_out, train_sample, facts)


def _facts(state: State, examples: Examples, plan: Plan) -> TrainingFacts:
    loop = LoopFacts(
        epochs=len(state.history),
        best_epoch=state.best.epoch if state.best else None,
        best=state.best.scores if state.best else None,
        training_seconds=round(state.seconds, 3),
        diverged_at=state.diverged_at,
    )
    return TrainingFacts(
        engine=f"pytorch, {plan.precision.device}, {plan.precision.name}",
        seconds=round(state.earlier_seconds, 3),
        warnings=tuple(Advisor(examples, plan.recipe).all_warnings(state.history)),
        loop=loop,
    )
