"""Session: make everything ready for the loop, run it, and take the model out of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ilk.arrays import Indices
from ilk.data.split import subsample
from ilk.models.backbones import import_timm
from ilk.models.bundle import Bundle
from ilk.models.network import Network, build
from ilk.recipe import Recipe
from ilk.runtime import Progress, keep_freed_memory, silent
from ilk.training.budget import affordable_steps
from ilk.training.checkpoint import Checkpoints
from ilk.training.cpu.precision import Precision, spare_single_pixels
from ilk.training.distributed import ALONE, World
from ilk.training.examples import Examples
from ilk.training.interrupt import Interrupt
from ilk.training.loop import fit
from ilk.training.optim.layers import freeze, frozen_names
from ilk.training.optim.optimizers import make_optimizers
from ilk.training.order import steps_in_epoch
from ilk.training.progress.advice import before_training
from ilk.training.progress.monitor import Monitor
from ilk.training.scoring import outputs_of
from ilk.training.state import State
from ilk.training.step import Step
from ilk.training.trained import Answers

log = logging.getLogger("ilk")


@dataclass(frozen=True)
class Sitting:
    """Where and how a training takes place.

    Attributes
    ----------
    folder : Path
        The run's folder.
    precision : Precision
        And the device.
    resume : bool
        Whether to go on from the newest checkpoint in the folder.
    world : World
        The processes that train together.
    progress : Progress
    seen : mapping of str to str
        Content digests of the pictures, and their splits.
    """

    folder: Path
    precision: Precision
    resume: bool = False
    world: World = ALONE
    progress: Progress = silent
    seen: Mapping[str, str] = field(default_factory=dict)

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints lie."""
        return self.folder / "checkpoints"


def train_network(start: Bundle, examples: Examples, recipe: Recipe, sitting: Sitting) -> State:
    """Train the network of a bundle on examples; return its last state.

    Parameters
    ----------
    start : Bundle
        A classifier: the weights to begin with.
    examples : Examples
    recipe : Recipe
    sitting : Sitting

    Raises
    ------
    UsageError
        The recipe does not fit the network.
    Interrupted, TrainingError, DataError
        See `ilk.training.loop.fit`.
    """
    keep_freed_memory()
    interrupt = Interrupt(sitting.folder)
    with (
        deterministic(),
        interrupt.listening(),
        Checkpoints(
            sitting.checkpoints,
            recipe.checkpoint_minutes,
            recipe.checkpoint_every,
            writes=sitting.world.leads,
            seen=sitting.seen,
        ) as checkpoints,
    ):
        state = new_state(start, examples, recipe, sitting.precision)
        leads = sitting.world.leads
        found = sitting.world.share(checkpoints.newest() if sitting.resume and leads else None)

        def new_step() -> Step:
            targets, imgsz = examples.targets[examples.train], start.spec.preprocess.imgsz
            classes = len(examples.classes)
            return Step(recipe, sitting.precision, targets, classes, imgsz, sitting.world)

        if found:
            state.restore(found)
            found = None  # its memory is of better use to the training
            log.info("%s", _where(state))
        elif sitting.resume:
            log.info("There is no whole checkpoint: beginning at the beginning")
        if recipe.budget_seconds and not state.total_steps:
            trial = new_state(start, examples, recipe, sitting.precision)
            state.total_steps = affordable_steps(trial, examples, recipe, new_step(), sitting.world)
        step = new_step()
        for remark in before_training(*_size_of_task(state, examples, recipe)):
            log.warning("%s", remark)
        with Monitor(
            sitting.folder,
            examples,
            recipe,
            sitting.progress,
            speaks=sitting.world.leads,
            first_step=state.steps_done,
        ) as monitor:
            step.look = monitor.gradients
            fit(state, examples, recipe, step, checkpoints, monitor, interrupt, sitting.world)
    return state


def _where(state: State) -> str:
    """Say where a training that was stopped goes on."""
    if state.done:
        return f"All {state.epochs} epochs are done; going on with what comes after them"
    return f"Going on from epoch {state.epoch + 1}, step {state.step + 1}"


def new_state(start: Bundle, examples: Examples, recipe: Recipe, precision: Precision) -> State:
    """Return the state of a training that has yet to begin."""
    network = build(start)
    network.to(precision.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if precision.device.type == "cpu":
        spare_single_pixels(network)
    freeze(network, frozen_names(network, recipe.freeze))
    steps = steps_in_epoch(len(examples.train), recipe.batch * recipe.accumulate)
    return State(
        spec=start.spec,
        network=network,
        optimizers=make_optimizers(network, recipe),
        average=_average(network, recipe.ema),
        scaler=precision.scaler(),
        steps_per_epoch=steps,
        total_steps=steps * (recipe.epochs or 0),
        pieces=recipe.accumulate,
    )


def _average(network: Network, decay: float | None) -> object:
    """Return the moving average; its decay rises at first, so that early weights are forgotten."""
    if decay is None:
        return None
    return import_timm().utils.ModelEmaV3(network, decay=decay, use_warmup=True)


def _size_of_task(
    state: State, examples: Examples, recipe: Recipe
) -> tuple[int, int, bool, bool, float]:
    trainable = sum(p.numel() for p in state.network.parameters() if p.requires_grad)
    pretrained = recipe.mode != "scratch"
    return trainable, len(examples.train), pretrained, recipe.frozen_norms, recipe.layer_decay


def answers(
    bundle: Bundle, examples: Examples, recipe: Recipe, sitting: Sitting, pieces: int
) -> tuple[Answers, Answers, Answers]:
    """Run the model that is kept over pictures, as it would be used.

    Returns
    -------
    reported, held_out, known : Answers
        See `ilk.training.trained.Trained`.
    """
    network = build(bundle)
    network.to(sitting.precision.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def of(rows: Indices) -> Answers:
        features, logits, good = outputs_of(
            network,
            examples.source,
            rows,
            precision=sitting.precision,
            batch=-(-recipe.batch * recipe.accumulate // pieces),
            world=sitting.world,
        )
        pictures = tuple(examples.catalog.pictures[i] for i in rows[good])
        return Answers(pictures, features[good], logits[good])

    return of(examples.reported), of(examples.val), of(subsample(examples.train, recipe.seed))


@contextmanager
def deterministic() -> Iterator[None]:
    """Let torch choose kernels that give the same bits each time, where it has them.

    Its settings and the state of its generator are put back at the end.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic
    fills = settings.fill_uninitialized_memory
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = False
    try:
        with torch.random.fork_rng(devices=[]):  # steps seed torch's generator, for dropout
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)
        settings.fill_uninitialized_memory = fills
