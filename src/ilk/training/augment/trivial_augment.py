"""Trivial: TrivialAugment's wide set of operations (Müller & Hutter 2021, arXiv 2103.10158).

Each operation takes pictures, ``uint8 [N, H, W, 3]``, and their magnitudes, float32 [N]; 0 leaves
a picture as it is, and 1 or -1 is the paper's utmost.

Where it differs from the paper's: magnitudes are continuous and not one of 31; pictures are
resampled bilinearly, and what comes in from outside is grey, not black; a translation goes up to a
seventh of the side (32 of 224 pixels, and not 32 pixels of any), so that small pictures are not
pushed out of sight; solarize begins with no change.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ilk.training.augment.transforms import (
    LEVELS,
    as_pixels,
    blend,
    brightness,
    by_parts,
    histogram,
    lookup,
    mean_grey,
    saturation,
    smooth,
    warp,
)

SHEAR = 0.99  # pixels sideways a pixel down
TRANSLATE = 32 / 224
ROTATE = 135  # degrees
FACTOR = 0.99  # how far from 1 the factors of colour and sharpness go
BITS, LEAST_BITS = 8, 2
FIXED = ("autocontrast", "equalize")  # they know no magnitude: the strength blends them in


def apply(pixels: Tensor, operations: Tensor, magnitudes: Tensor, strength: float) -> Tensor:
    """Apply to each picture its operation.

    Parameters
    ----------
    pixels : uint8 tensor [N, H, W, 3]
    operations : int64 tensor [N], on the CPU
        Numbers of `OPERATIONS`.
    magnitudes : float32 tensor [N], on the CPU
        Within -1..1; the sign tells left from right, darker from lighter, where there is a choice.
    strength : float
        Factor of the magnitudes; 0 changes nothing.

    Returns
    -------
    uint8 tensor [N, H, W, 3]
    """
    order = operations.argsort(stable=True)
    counts = operations.bincount(minlength=len(OPERATIONS)).tolist()
    groups = pixels.index_select(0, order.to(pixels.device)).split(counts)
    fixed = torch.tensor([name in FIXED for name in OPERATIONS])[operations]
    magnitudes = strength * torch.where(fixed, 1.0, magnitudes)
    measures = magnitudes[order].to(pixels.device).split(counts)
    done = [
        by_parts(operation, group, measure)
        for operation, group, measure in zip(OPERATIONS.values(), groups, measures, strict=True)
        if len(group)
    ]
    return torch.cat(done).index_select(0, order.argsort().to(pixels.device))


def _identity(pixels: Tensor, magnitude: Tensor) -> Tensor:
    return pixels


def _shear_x(pixels: Tensor, magnitude: Tensor) -> Tensor:
    slope = SHEAR * magnitude
    return warp(pixels, _matrices(slope, xy=slope, x=slope * pixels.shape[1] / 2))


def _shear_y(pixels: Tensor, magnitude: Tensor) -> Tensor:
    slope = SHEAR * magnitude
    return warp(pixels, _matrices(slope, yx=slope, y=slope * pixels.shape[2] / 2))


def _translate_x(pixels: Tensor, magnitude: Tensor) -> Tensor:
    return warp(pixels, _matrices(magnitude, x=magnitude * TRANSLATE * pixels.shape[2]))


def _translate_y(pixels: Tensor, magnitude: Tensor) -> Tensor:
    return warp(pixels, _matrices(magnitude, y=magnitude * TRANSLATE * pixels.shape[1]))


def _rotate(pixels: Tensor, magnitude: Tensor) -> Tensor:
    angle = math.radians(ROTATE) * magnitude
    cos, sin = angle.cos(), angle.sin()
    return warp(pixels, _matrices(angle, xx=cos, xy=-sin, yx=sin, yy=cos))


def _matrices(like: Tensor, **entries: Tensor) -> Tensor:
    """Put entries into float32 [N, 2, 3] matrices that are else the identity."""
    entries = {"xx": torch.ones_like(like), "yy": torch.ones_like(like)} | entries
    names = ("xx", "xy", "x", "yx", "yy", "y")
    zeros = torch.zeros_like(like)
    return torch.stack([entries.get(name, zeros) for name in names], 1).view(-1, 2, 3)


def _factors(magnitude: Tensor) -> Tensor:
    return (1 + FACTOR * magnitude).clamp(min=0)


def _brightness(pixels: Tensor, magnitude: Tensor) -> Tensor:
    return _toned(pixels, brightness(_levels(pixels), _factors(magnitude)))


def _contrast(pixels: Tensor, magnitude: Tensor) -> Tensor:
    mean = mean_grey(pixels.float())[:, None, None]
    return _toned(pixels, blend(mean, _levels(pixels), _factors(magnitude)))


def _colour(pixels: Tensor, magnitude: Tensor) -> Tensor:
    return as_pixels(saturation(pixels.float(), _factors(magnitude)))


def _sharpness(pixels: Tensor, magnitude: Tensor) -> Tensor:
    values = pixels.float()
    return as_pixels(blend(smooth(values), values, _factors(magnitude)))


def _posterize(pixels: Tensor, magnitude: Tensor) -> Tensor:
    bits = (BITS - ((BITS - LEAST_BITS) * magnitude.abs()).round()).clamp(min=1)
    step = (2 ** (BITS - bits))[:, None, None]
    return _toned(pixels, _levels(pixels).div(step).floor() * step)


def _solarize(pixels: Tensor, magnitude: Tensor) -> Tensor:
    levels = _levels(pixels)
    threshold = LEVELS * (1 - magnitude.abs())[:, None, None]
    return _toned(pixels, torch.where(levels < threshold, levels, 255 - levels))


def _autocontrast(pixels: Tensor, magnitude: Tensor) -> Tensor:
    levels = _levels(pixels)
    values = pixels.flatten(1, 2)
    low, high = values.amin(1).float()[..., None], values.amax(1).float()[..., None]
    stretched = ((levels - low) * (255 / (high - low).clamp(min=1))).clamp(0, 255)
    return _partly(pixels, torch.where(high > low, stretched, levels), magnitude)


def _equalize(pixels: Tensor, magnitude: Tensor) -> Tensor:
    """As Pillow's ImageOps: values spread so that each step of 1 holds as many pixels."""
    levels = _levels(pixels)
    counts = histogram(pixels)
    upto = counts.cumsum(2)
    total = upto[..., -1:]
    # All but those of the highest value that occurs: it becomes 255.
    highest = (levels.long() * (counts > 0)).amax(2, keepdim=True)
    step = (total - counts.gather(2, highest)) // 255
    spread = (step // 2 + upto - counts) // step.clamp(min=1)
    return _partly(pixels, torch.where(step > 0, spread.clamp(0, 255).float(), levels), magnitude)


def _levels(pixels: Tensor) -> Tensor:
    """Return the table that changes nothing: float32 [N, 3, 256]."""
    levels = torch.arange(LEVELS, dtype=torch.float32, device=pixels.device)
    return levels.expand(len(pixels), 3, -1)


def _toned(pixels: Tensor, tables: Tensor) -> Tensor:
    return lookup(pixels, as_pixels(tables))


def _partly(pixels: Tensor, tables: Tensor, magnitude: Tensor) -> Tensor:
    return _toned(pixels, blend(_levels(pixels), tables, magnitude.clamp(max=1)))


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": _identity,
    "shear x": _shear_x,
    "shear y": _shear_y,
    "translate x": _translate_x,
    "translate y": _translate_y,
    "rotate": _rotate,
    "brightness": _brightness,
    "colour": _colour,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
}
