"""Step: what happens to one batch, from pixels to changed weights."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ilk.arrays import Targets
from ilk.errors import DataError
from ilk.recipe import Recipe
from ilk.training.augment.pipeline import Augment, mix
from ilk.training.cpu.folded import FoldedNorms, Pairs, foldable
from ilk.training.cpu.precision import Precision
from ilk.training.distributed import SINGLE_PROCESS, World
from ilk.training.examples import Batch
from ilk.training.optim.layers import freeze, frozen_names, set_training_mode
from ilk.training.optim.optimizers import set_learning_rates
from ilk.training.optim.schedule import image_size, smoothing
from ilk.training.randomness import generator, key
from ilk.training.state import State

log = logging.getLogger("ilk")
Hook = Callable[[State, Tensor, Tensor], None]


class StepSums(NamedTuple):
    """One step's sums over its pictures in all processes, and whether any process is to stop."""

    loss: float
    correct: int
    pictures: int
    stop: bool = False

    @property
    def mean_loss(self) -> float:
        """The cross-entropy of a picture, in nats."""
        return self.loss / self.pictures


class Step:
    """Augment, forward, backward, update.

    Parameters
    ----------
    targets : int64 array [M]
        The classes of the training pictures, for class weights.
    imgsz : int
        Final side of the pictures, in pixels.
    world : World
        The processes that train together.

    Attributes
    ----------
    on_gradients : callable or None
        Called with (state, pixels, soft targets) before the update.
    """

    def __init__(
        self,
        recipe: Recipe,
        precision: Precision,
        targets: Targets,
        classes: int,
        imgsz: int,
        world: World = SINGLE_PROCESS,
    ) -> None:
        self.on_gradients: Hook | None = None
        self._precision = precision
        self._recipe = recipe
        self._classes = classes
        self._imgsz = imgsz
        self._world = world
        self._augment = Augment(recipe.augment, recipe.strength, recipe.flip, recipe.alternate)
        self._weights = None
        if recipe.class_weights == "balanced":
            counts = np.bincount(targets, minlength=classes)
            weights = len(targets) / (classes * np.maximum(1, counts))
            self._weights = torch.tensor(weights, dtype=torch.float32, device=precision.device)
        self._frozen: frozenset[str] | None = None
        self._network: Any = None
        self._folded: Pairs = {}

    def begin_epoch(self, state: State) -> None:
        """Unfreeze what is due, and set the modes of norms and dropout."""
        every = self._recipe.unfreeze_every
        unfrozen = state.epoch // every if every else 0
        frozen = frozen_names(state.network, self._recipe.freeze, unfrozen)
        changed = frozen != self._frozen
        if changed:
            freeze(state.network, frozen)
            self._network = self._wrapped(state.network)
            self._frozen = frozen
        set_training_mode(state.network, frozen, self._recipe.frozen_norms)
        if changed and not self._recipe.compile:
            self._folded = foldable(state.network, self._noise())

    def _noise(self) -> Tensor:
        """Return two pictures of noise, on the device."""
        rng = generator(self._recipe.seed, "noise")
        shape = (2, self._imgsz, self._imgsz, 3)
        noise = torch.randint(256, shape, generator=rng, dtype=torch.uint8)
        return noise.to(self._precision.device)

    def _wrapped(self, network: Any) -> Any:
        """Return the network, compiled and distributed as the recipe and the processes require."""
        if self._recipe.compile:
            network = torch.compile(network)
        if self._world.size > 1:
            network = torch.nn.parallel.DistributedDataParallel(network)
        return network

    def __call__(
        self, state: State, batch: Batch, lr_factor: float, stop: Callable[[], bool] = lambda: False
    ) -> StepSums:
        """Take one step.

        Parameters
        ----------
        state : State
            Its network, optimizers and average are changed.
        lr_factor : float
            Factor of the peak learning rate.
        stop : callable
            Returns whether this process is to stop; the processes exchange it with the loss.

        Returns
        -------
        StepSums
            Of the cross-entropy, and of the pictures classified correctly, as augmented. If the
            loss is not finite, the training diverged, and no weight was changed.

        Raises
        ------
        DataError
            There is no picture.
        """
        if not len(batch.indices):
            raise DataError(
                "None of the pictures of a batch can be decoded. Remove the broken ones, or give "
                "a larger --batch."
            )
        set_learning_rates(state.optimizers, lr_factor)
        while True:
            pixels, soft = self.augmented(state, batch)
            try:
                loss, correct = self._gradients(state, pixels, soft, batch)
                break
            except RuntimeError as error:
                last = state.micro_batches >= len(pixels) or self._world.size > 1
                if not _out_of_memory(error) or last:
                    raise
            self._use_less_memory(state, len(pixels))
        number = len(pixels)
        sums = self._world.all_reduce(loss * number, correct, number, stop())
        if np.isfinite(sums[0]):
            # Gradients were divided by all pictures, but some could not be decoded.
            self._update(state, pixels, soft, batch.total / sums[2])
        return StepSums(sums[0], int(sums[1]), int(sums[2]), sums[3] > 0)

    def augmented(self, state: State, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return augmented pixels ``[N, S, S, 3]`` and soft targets ``[N, K]``, on the device."""
        recipe = self._recipe
        position = (recipe.seed, "step", state.epoch, state.step, self._world.rank)
        rng = generator(*position)
        torch.manual_seed(key(*position))  # for dropout
        pixels = self._precision.to_device(batch.pixels)
        indices = torch.from_numpy(batch.indices)
        pixels = self._augment(pixels, indices, state.epoch, recipe.seed, rng)
        size = image_size(recipe, self._imgsz, state.steps_done, state.total_steps)
        if size != pixels.shape[1]:
            pixels = _resized(pixels, size)
        targets = self._precision.to_device(batch.targets)
        return mix(pixels, targets, self._classes, recipe.mixup, recipe.cutmix, rng)

    def _use_less_memory(self, state: State, pictures: int) -> None:
        """Divide batches into twice as many micro-batches from now on."""
        self._clear(state)
        if self._precision.device.type == "cuda":
            torch.cuda.empty_cache()
        state.micro_batches = min(2 * state.micro_batches, pictures)
        log.warning(
            "Out of memory: each batch of %d is now processed in %d micro-batches.",
            pictures, state.micro_batches,
        )  # fmt: skip

    def _gradients(
        self, state: State, pixels: Tensor, soft: Tensor, batch: Batch
    ) -> tuple[float, int]:
        """Go forwards and backwards, in as many micro-batches as memory requires."""
        smooth = smoothing(self._recipe, state.steps_done, state.total_steps)
        parts = list(zip(*(x.chunk(state.micro_batches) for x in (pixels, soft)), strict=True))
        total = torch.zeros((), device=pixels.device)
        # DistributedDataParallel averages over processes: a larger share must weigh more.
        weight = len(pixels) * self._world.size / batch.total
        predicted = []
        for i, (inputs, wanted) in enumerate(parts):
            with self._synchronised(i == len(parts) - 1):
                with self._precision.autocast(), FoldedNorms(self._folded):
                    _, logits = self._network(inputs)
                loss = F.cross_entropy(
                    logits.float(), wanted, self._weights, label_smoothing=smooth
                )
                loss = loss * (len(inputs) / len(pixels))
                state.scaler.scale(loss * weight).backward()
            total += loss.detach()
            predicted.append(logits.detach().argmax(dim=1))
        correct = int((torch.cat(predicted).cpu() == torch.from_numpy(batch.targets)).sum())
        return float(total), correct

    def _synchronised(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Let processes exchange gradients with the last micro-batch only."""
        if self._world.size > 1 and not last:
            return self._network.no_sync()  # type: ignore[no-any-return]
        return contextlib.nullcontext()

    def _update(self, state: State, pixels: Tensor, soft: Tensor, scale: float) -> None:
        # The scaler fails on an optimizer without gradients, as when all its parts are frozen.
        active = [o for o in state.optimizers if _has_gradients(o)]
        for optimizer in active:
            state.scaler.unscale_(optimizer)
        gradients = [p.grad for p in state.network.parameters() if p.grad is not None]
        if scale != 1:
            torch._foreach_mul_(gradients, scale)
        if self.on_gradients:
            self.on_gradients(state, pixels, soft)
        if self._recipe.clip is not None:
            trained = [p for p in state.network.parameters() if p.grad is not None]
            torch.nn.utils.clip_grad_norm_(trained, self._recipe.clip)
        for optimizer in active:
            state.scaler.step(optimizer)
        state.scaler.update()
        self._clear(state)
        if state.average is not None:
            state.average.update(state.network, state.steps_done)

    @staticmethod
    def _clear(state: State) -> None:
        for optimizer in state.optimizers:
            optimizer.zero_grad(set_to_none=True)


def _has_gradients(optimizer: torch.optim.Optimizer) -> bool:
    return any(p.grad is not None for g in optimizer.param_groups for p in g["params"])


def _out_of_memory(error: RuntimeError) -> bool:
    text = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "allocate memory" in text  # the CPU's allocator
        or "out of memory" in text  # MPS, and some of CUDA's libraries
    )


def _resized(pixels: Tensor, size: int) -> Tensor:
    """Shrink pixels ``[N, H, W, 3]`` to a smaller side."""
    image = pixels.permute(0, 3, 1, 2).float()
    small = F.interpolate(image, (size, size), mode="bilinear", antialias=True)
    return small.clamp(0, 255).permute(0, 2, 3, 1)
