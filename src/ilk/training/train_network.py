"""Train a network: set everything up for the loop, run it, and return the final state."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ilk.arrays import Indices
from ilk.data.split import subsample
from ilk.models.backbones import import_timm
from ilk.models.bundle import Bundle
from ilk.models.network import Network, build
from ilk.recipe import Recipe
from ilk.runtime import keep_freed_memory
from ilk.training.budget import affordable_steps
from ilk.training.checkpoint import Checkpoints
from ilk.training.cpu.precision import Precision, pad_single_pixels
from ilk.training.examples import Examples, steps_in_epoch
from ilk.training.interrupt import Interrupt
from ilk.training.loop import Trainer
from ilk.training.optim.layers import freeze, frozen_names
from ilk.training.optim.optimizers import make_optimizers
from ilk.training.outputs import outputs_of
from ilk.training.plan import Plan
from ilk.training.progress.advice import before_training
from ilk.training.progress.monitor import Monitor
from ilk.training.result import Outputs
from ilk.training.state import State
from ilk.training.step import Step

log = logging.getLogger("ilk")


def train_network(start: Bundle, examples: Examples, plan: Plan) -> State:
    """Train the network of a bundle on examples, and return its final state.

    Parameters
    ----------
    start : Bundle
        A classifier: the initial weights.

    Raises
    ------
    UsageError
        The recipe does not fit the network.
    Interrupted, TrainingError, DataError
        See `ilk.training.loop.Trainer.fit`.
    """
    keep_freed_memory()
    recipe, world = plan.recipe, plan.world
    interrupt = Interrupt(plan.folder)
    with (
        deterministic(),
        interrupt.handle_signals(),
        Checkpoints(
            plan.folder / "checkpoints",
            recipe.checkpoint_minutes,
            recipe.checkpoint_every,
            writes=world.is_main_process,
            seen={p.digest: p.split or "" for p in plan.catalog.pictures},
        ) as checkpoints,
    ):
        state = new_state(start, examples, recipe, plan.precision)
        if plan.resume:
            _restore(state, checkpoints, plan)
        if recipe.budget_seconds and not state.total_steps:
            trial = new_state(start, examples, recipe, plan.precision)
            state.total_steps = affordable_steps(
                trial, examples, plan, new_step(start, examples, plan)
            )
        step = new_step(start, examples, plan)
        for warning in before_training(state.network, len(examples.train), recipe):
            log.warning("%s", warning)
        with Monitor(
            plan.folder,
            examples,
            recipe,
            plan.progress,
            enabled=world.is_main_process,
            first_step=state.steps_done,
        ) as monitor:
            step.on_gradients = monitor.gradients
            Trainer(state, examples, plan, step, checkpoints, monitor, interrupt).fit()
    return state


def _restore(state: State, checkpoints: Checkpoints, plan: Plan) -> None:
    """Restore the newest intact checkpoint, if there is one."""
    snapshot = plan.world.broadcast(checkpoints.newest)
    if snapshot is None:
        log.info("There is no intact checkpoint: starting from the beginning")
        return
    state.restore(snapshot)
    if state.done:
        log.info("All %d epochs are done; continuing with the evaluation", state.epochs)
    else:
        log.info("Resuming at epoch %d, step %d", state.epoch + 1, state.step + 1)


def new_state(start: Bundle, examples: Examples, recipe: Recipe, precision: Precision) -> State:
    """Return the state of a training before its first step."""
    network = build(start)
    network.to(precision.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if precision.device.type == "cpu":
        pad_single_pixels(network)
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
        micro_batches=recipe.accumulate,
    )


def new_step(start: Bundle, examples: Examples, plan: Plan) -> Step:
    """Return the `Step` that trains the network of a bundle."""
    targets, imgsz = examples.targets[examples.train], start.spec.preprocess.imgsz
    return Step(plan.recipe, plan.precision, targets, len(examples.classes), imgsz, plan.world)


def _average(network: Network, decay: float | None) -> object:
    """Return the moving average; its decay rises at first, so that early weights are forgotten."""
    if decay is None:
        return None
    return import_timm().utils.ModelEmaV3(network, decay=decay, use_warmup=True)


def final_outputs(
    bundle: Bundle, examples: Examples, plan: Plan, micro_batches: int
) -> tuple[Outputs, Outputs, Outputs]:
    """Run the final model over pictures, as it will be used.

    Returns
    -------
    evaluated, held_out, train_sample : Outputs
        See `ilk.training.result.TrainingResult`.
    """
    recipe, precision = plan.recipe, plan.precision
    network = build(bundle)
    network.to(precision.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def outputs(indices: Indices) -> Outputs:
        features, logits, readable = outputs_of(
            network,
            examples.source,
            indices,
            precision=precision,
            batch=-(-recipe.batch * recipe.accumulate // micro_batches),
            world=plan.world,
        )
        pictures = tuple(examples.catalog.pictures[i] for i in indices[readable])
        return Outputs(pictures, features[readable], logits[readable])

    train_sample = subsample(examples.train, recipe.seed)
    return outputs(examples.evaluated), outputs(examples.val), outputs(train_sample)


@contextmanager
def deterministic() -> Iterator[None]:
    """Let torch choose kernels that are deterministic, where it has them.

    Its settings and the state of its generator are restored at the end.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic
    fills = settings.fill_uninitialized_memory
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = False
    try:
        with torch.random.fork_rng(devices=[]):  # steps seed torch's generator, for dropout
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        settings.fill_uninitialized_memory = fills
