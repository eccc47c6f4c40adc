"""Augment: change the pictures of a training step at random, all at once, on their own device.

Every draw comes from the CPU generator that is handed in, so that it is the same on each device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from ilk.errors import UsageError
from ilk.training.augment import transforms
from ilk.training.augment import trivial_augment as trivial

SHIFT = 1 / 8  # of the side
JITTER = 0.4
JITTERS = (transforms.brightness, transforms.contrast, transforms.saturation)
CROP_AREA, LEAST_AREA = 0.35, 0.08
CROP_ASPECT = 4 / 3


@dataclass(frozen=True)
class Augment:
    """What is done to each picture of a training step.

    Parameters
    ----------
    kind : {"none", "light", "brightness", "colour", "crops", "trivial"}
        none: nothing but mirroring. light: shift by up to 1/8 of the side, edges reflected (the
        padded crop of the tutorials). brightness: a factor of it within 1 ± 0.4. colour: light, and
        such factors of brightness, contrast and saturation. crops: a random part of 35 to 100 % of
        the area, of aspect 3:4 to 4:3, stretched to the whole (Szegedy et al. 2015). trivial: one
        of TrivialAugment's wide set of operations (Müller & Hutter 2021).
    strength : float
        Factor of how far each goes; 0: nothing but mirroring.
    flip : float
        Share of pictures that are mirrored, whatever the kind; 0: none, also with ``alternate``.
    alternate : bool
        Mirror every picture in every other epoch, half of them in the first (Jordan 2024,
        arXiv 2404.00498, section 3.6).

    Raises
    ------
    UsageError
        The kind is unknown.
    """

    kind: str = "light"
    strength: float = 1.0
    flip: float = 0.5
    alternate: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"augment = {self.kind!r}; give one of {', '.join(KINDS)}.")

    def __call__(
        self, pixels: Tensor, rows: Tensor, epoch: int, seed: int, generator: Generator
    ) -> Tensor:
        """Return the pictures as this step sees them.

        Parameters
        ----------
        pixels : uint8 tensor [N, H, W, 3]
            On any device.
        rows : int64 tensor [N]
            Which pictures of the data set they are; ``alternate`` asks.
        epoch, seed : int
            ``alternate`` is a function of seed, row and epoch alone.
        generator : torch.Generator, on the CPU
            What all else is drawn from.

        Returns
        -------
        uint8 tensor [N, H, W, 3], contiguous, on the same device
        """
        mirrored = self._mirrored(rows, epoch, seed, generator).to(pixels.device)
        if self.strength == 0 or not len(pixels):
            return transforms.mirror(pixels, mirrored)
        return KINDS[self.kind](pixels, mirrored, self.strength, generator)

    def _mirrored(self, rows: Tensor, epoch: int, seed: int, generator: Generator) -> Tensor:
        if self.alternate and self.flip > 0:
            return _coins(rows, seed) ^ (epoch % 2 == 1)
        return torch.rand(len(rows), generator=generator) < self.flip


def _coins(rows: Tensor, seed: int) -> Tensor:
    """Toss a coin for each row that depends on the seed and the row alone: bool [N].

    It is the top bit of SplitMix64 (Steele, Lea & Flood 2014), as a hash.
    """
    start = (seed + 1) * 0x9E3779B97F4A7C15 % 2**64
    z = rows.cpu().numpy().astype(np.uint64) + np.uint64(start)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return torch.from_numpy(z >= 2**63)


def _none(pixels: Tensor, mirrored: Tensor, strength: float, generator: Generator) -> Tensor:
    return transforms.mirror(pixels, mirrored)


def _light(pixels: Tensor, mirrored: Tensor, strength: float, generator: Generator) -> Tensor:
    number, height, width, _ = pixels.shape
    right, down = (
        torch.randint(-most, most + 1, (number,), generator=generator).to(pixels.device)
        for most in (round(SHIFT * strength * width), round(SHIFT * strength * height))
    )
    return transforms.shift(pixels, right, down, mirrored)


def _brightness(pixels: Tensor, mirrored: Tensor, strength: float, generator: Generator) -> Tensor:
    factors = (1 + JITTER * strength * _uniform(len(pixels), generator)).clamp(min=0)

    def jittered(part: Tensor, factors: Tensor) -> Tensor:
        return transforms.as_pixels(transforms.brightness(part.float(), factors))

    flipped = transforms.mirror(pixels, mirrored)
    return transforms.by_parts(jittered, flipped, factors.to(pixels.device))


def _colour(pixels: Tensor, mirrored: Tensor, strength: float, generator: Generator) -> Tensor:
    """Shift, then do torchvision's ColorJitter, whose order is drawn once for all pictures."""
    shifted = _light(pixels, mirrored, strength, generator)
    order = torch.randperm(len(JITTERS), generator=generator).tolist()
    draws = torch.stack([_uniform(len(pixels), generator) for _ in order], 1)
    factors = (1 + JITTER * strength * draws).clamp(min=0).to(pixels.device)

    def jittered(part: Tensor, factors: Tensor) -> Tensor:
        values = part.float()
        for which in order:
            values = JITTERS[which](values, factors[:, which])
        return transforms.as_pixels(values)

    return transforms.by_parts(jittered, shifted, factors)


def _crops(pixels: Tensor, mirrored: Tensor, strength: float, generator: Generator) -> Tensor:
    number, height, width, _ = pixels.shape
    least = max(LEAST_AREA, 1 - (1 - CROP_AREA) * strength)
    area = 1 - (1 - least) * torch.rand(number, generator=generator)
    aspect = (math.log(CROP_ASPECT) * strength * _uniform(number, generator)).exp()
    aspect = aspect.clamp(area, 1 / area)  # no side is longer than the picture's
    matrices = torch.zeros(number, 2, 3)
    for axis, (size, ratio) in enumerate(((width, aspect), (height, 1 / aspect))):
        share = (area * ratio).sqrt()
        matrices[:, axis, axis] = share
        matrices[:, axis, 2] = (1 - share) * _uniform(number, generator) * (size / 2)
    matrices = matrices.to(pixels.device)
    matrices[:, 0, 0] *= torch.where(mirrored, -1.0, 1.0)
    return transforms.by_parts(partial(transforms.warp, padding="border"), pixels, matrices)


def _trivial(pixels: Tensor, mirrored: Tensor, strength: float, generator: Generator) -> Tensor:
    operations = torch.randint(len(trivial.OPERATIONS), (len(pixels),), generator=generator)
    magnitudes = _uniform(len(pixels), generator)
    pixels = transforms.mirror(pixels, mirrored)
    return trivial.apply(pixels, operations, magnitudes, strength)


def _uniform(number: int, generator: Generator) -> Tensor:
    """Draw float32 [N] from -1..1."""
    return 2 * torch.rand(number, generator=generator) - 1


KINDS: dict[str, Callable[[Tensor, Tensor, float, Generator], Tensor]] = {
    "none": _none,
    "light": _light,
    "brightness": _brightness,
    "colour": _colour,
    "crops": _crops,
    "trivial": _trivial,
}


def mix(
    pixels: Tensor, targets: Tensor, classes: int, mixup: float, cutmix: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Mix each picture, and its target, with another one of the batch.

    By mixup (Zhang et al. 2018, arXiv 1710.09412), a weighted mean, or by CutMix (Yun et al. 2019,
    arXiv 1905.04899), which pastes a box of the other one in. If both are on, a coin chooses for
    the batch. One share is drawn for the batch, from Beta(alpha, alpha).

    Parameters
    ----------
    pixels : uint8 tensor [N, H, W, 3]
    targets : int64 tensor [N]
    mixup, cutmix : float
        Alpha of each; 0: off.
    generator : torch.Generator, on the CPU

    Returns
    -------
    pixels : uint8 tensor [N, H, W, 3]
    targets : float32 tensor [N, classes]
        They sum to 1; hard if both are off.
    """
    soft = one_hot(targets, classes).float()
    if mixup <= 0 and cutmix <= 0:
        return pixels, soft
    cut = cutmix > 0 and (mixup <= 0 or bool(torch.rand((), generator=generator) < 0.5))
    share = _beta(cutmix if cut else mixup, generator)
    partners = torch.randperm(len(pixels), generator=generator).to(pixels.device)
    if cut:
        pixels, share = _pasted(pixels, partners, share, generator)
    else:
        pixels = transforms.by_parts(
            lambda part, others: transforms.as_pixels(
                torch.lerp(others.float(), part.float(), share)
            ),
            pixels,
            pixels.index_select(0, partners),
        )
    return pixels, torch.lerp(soft.index_select(0, partners), soft, share)


def _pasted(
    pixels: Tensor, partners: Tensor, share: float, generator: Generator
) -> tuple[Tensor, float]:
    """Paste a box of each partner in; return the share of the picture that is left, too."""
    spans = []
    for size in pixels.shape[1:3]:
        half = size * math.sqrt(1 - share) / 2
        middle = size * float(torch.rand((), generator=generator))
        spans.append((max(0, round(middle - half)), min(size, round(middle + half))))
    (top, bottom), (left, right) = spans
    mixed = pixels.clone()
    mixed[:, top:bottom, left:right] = pixels[:, top:bottom, left:right].index_select(0, partners)
    area = (bottom - top) * (right - left)
    return mixed, 1 - area / (pixels.shape[1] * pixels.shape[2])


def _beta(alpha: float, generator: Generator) -> float:
    """Draw from Beta(alpha, alpha); torch's own takes no generator."""
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))
