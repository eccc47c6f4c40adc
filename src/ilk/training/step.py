"""Step: what happens to one batch, from pixels to changed weights."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ilk.arrays import Indices, Pixels, Targets
from ilk.errors import DataError
from ilk.recipe import Recipe
from ilk.training.augment.pipeline import Augment, mix
from ilk.training.cpu.folded import FoldedNorms, Pairs, foldable
from ilk.training.cpu.precision import Precision
from ilk.training.distributed import ALONE, World
from ilk.training.optim.layers import freeze, frozen_names, set_training_mode
from ilk.training.optim.optimizers import set_rates
from ilk.training.optim.schedule import image_size, smoothing
from ilk.training.randomness import generator, key
from ilk.training.state import State

log = logging.getLogger("ilk")
Look = Callable[[State, Tensor, Tensor], None]


class Step:
    """Augment, forward, backward, update.

    Parameters
    ----------
    recipe : Recipe
    precision : Precision
    targets : int64 array [M]
        The classes of the training pictures, for class weights.
    classes : int
    imgsz : int
        Side of the pixels in the end.
    world : World
        The processes that train together.

    Attributes
    ----------
    look : callable or None
        Is shown (state, pixels, soft targets) while the gradients are there.
    """

    def __init__(
        self,
        recipe: Recipe,
        precision: Precision,
        targets: Targets,
        classes: int,
        imgsz: int,
        world: World = ALONE,
    ) -> None:
        self.precision = precision
        self._recipe = recipe
        self._classes = classes
        self._imgsz = imgsz
        self._world = world
        self.look: Look | None = None
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
        """Thaw what is due, and set the modes of norms and dropout."""
        every = self._recipe.unfreeze_every
        thawed = state.epoch // every if every else 0
        frozen = frozen_names(state.network, self._recipe.freeze, thawed)
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
        draw = generator(self._recipe.seed, "noise")
        shape = (2, self._imgsz, self._imgsz, 3)
        noise = torch.randint(256, shape, generator=draw, dtype=torch.uint8)
        return noise.to(self.precision.device)

    def _wrapped(self, network: Any) -> Any:
        """Return what to call: the network, compiled or shared with other processes if need be."""
        if self._recipe.compile:
            network = torch.compile(network)
        if self._world.size > 1:
            network = torch.nn.parallel.DistributedDataParallel(network)
        return network

    def __call__(
        self, state: State, pixels: Pixels, rows: Indices, targets: Targets, rate: float
    ) -> tuple[float, int]:
        """Take one step.

        Parameters
        ----------
        state : State
            Its network, optimizers and average are changed.
        pixels : uint8 array [N, H, W, 3]
        rows, targets : int64 arrays [N]
            Which pictures they are, and their classes.
        rate : float
            Factor of the peak learning rate.

        Returns
        -------
        loss : float
            Mean cross-entropy; not finite if the training went astray, and then no weight changed.
        correct : int
            Pictures named rightly, as augmented.

        Raises
        ------
        DataError
            There is no picture.
        """
        if not len(rows):
            raise DataError(
                "None of the pictures of a batch can be decoded. Remove those that are broken, or "
                "give a larger --batch."
            )
        set_rates(state.optimizers, rate)
        while True:
            batch, soft = self.prepared(state, pixels, rows, targets)
            try:
                loss, correct = self._gradients(state, batch, soft, torch.from_numpy(targets))
                break
            except RuntimeError as error:
                if not _out_of_memory(error) or state.pieces >= len(batch) or self._world.size > 1:
                    raise
            self._use_less_memory(state, len(batch))
        if np.isfinite(loss):
            self._update(state, batch, soft)
        return loss, correct

    def prepared(
        self, state: State, pixels: Pixels, rows: Indices, targets: Targets
    ) -> tuple[Tensor, Tensor]:
        """Return pixels ``[N, S, S, 3]`` on the device, augmented, and targets ``[N, K]``."""
        recipe = self._recipe
        place = (recipe.seed, "step", state.epoch, state.step, self._world.rank)
        draw = generator(*place)
        torch.manual_seed(key(*place))  # for dropout
        batch = self.precision.to_device(pixels)
        batch = self._augment(batch, torch.from_numpy(rows), state.epoch, recipe.seed, draw)
        size = image_size(recipe, self._imgsz, state.steps_done, state.total_steps)
        if size != batch.shape[1]:
            batch = _resized(batch, size)
        classes = self.precision.to_device(targets)
        return mix(batch, classes, self._classes, recipe.mixup, recipe.cutmix, draw)

    def _use_less_memory(self, state: State, pictures: int) -> None:
        """Let a batch go through the network in twice as many pieces from now on."""
        self._clear(state)
        if self.precision.device.type == "cuda":
            torch.cuda.empty_cache()
        state.pieces = min(2 * state.pieces, pictures)
        log.warning(
            "Out of memory: each batch of %d now goes through the network in %d parts.",
            pictures, state.pieces,
        )  # fmt: skip

    def _gradients(
        self, state: State, batch: Tensor, soft: Tensor, targets: Tensor
    ) -> tuple[float, int]:
        """Go forwards and backwards, in as many pieces as the device's memory asks for."""
        smooth = smoothing(self._recipe, state.steps_done, state.total_steps)
        parts = list(zip(batch.chunk(state.pieces), soft.chunk(state.pieces), strict=True))
        total = torch.zeros((), device=batch.device)
        # The processes' gradients are averaged: a larger share must weigh more.
        weight = len(batch) * self._world.size / self._world.total(len(batch))
        answers = []
        for i, (pixels, wanted) in enumerate(parts):
            with self._synchronised(i == len(parts) - 1):
                with self.precision.autocast(), FoldedNorms(self._folded):
                    _, logits = self._network(pixels)
                loss = F.cross_entropy(
                    logits.float(),
                    wanted,
                    self._weights,
                    label_smoothing=smooth,
                )
                loss = loss * (len(pixels) / len(batch))
                state.scaler.scale(loss * weight).backward()
            total += loss.detach()
            answers.append(logits.detach().argmax(dim=1))
        correct = int((torch.cat(answers).cpu() == targets).sum())
        return float(total), correct

    def _synchronised(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Let processes exchange gradients with a batch's last piece only."""
        if self._world.size > 1 and not last:
            return self._network.no_sync()  # type: ignore[no-any-return]
        return contextlib.nullcontext()

    def _update(self, state: State, batch: Tensor, soft: Tensor) -> None:
        # The scaler bears no optimizer without gradients, as where all that it trains is frozen.
        busy = [o for o in state.optimizers if _has_gradients(o)]
        for optimizer in busy:
            state.scaler.unscale_(optimizer)
        if self.look:
            self.look(state, batch, soft)
        if self._recipe.clip is not None:
            trained = [p for p in state.network.parameters() if p.grad is not None]
            torch.nn.utils.clip_grad_norm_(trained, self._recipe.clip)
        for optimizer in busy:
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
    told = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "allocate memory" in told  # the CPU's allocator
        or "out of memory" in told  # MPS, and some of CUDA's libraries
    )


def _resized(pixels: Tensor, size: int) -> Tensor:
    """Shrink pixels ``[N, H, W, 3]`` to a smaller side."""
    image = pixels.permute(0, 3, 1, 2).float()
    small = F.interpolate(image, (size, size), mode="bilinear", antialias=True)
    return small.clamp(0, 255).permute(0, 2, 3, 1)
