"""Corrupt: simulate noise, blur, weather and compression.

The 15 corruptions at 5 severities of "Benchmarking neural network robustness to common corruptions
and perturbations" (Hendrycks & Dietterich 2019, arXiv 1903.12261), with the parameters that its
authors published for pictures of 224 pixels; lengths in pixels grow and shrink with the side. Two
differ in method: frost is synthetic (the paper overlays photographs of frost), and glass blur moves
all pixels at once (the paper swaps them one by one).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from PIL import Image
from scipy import ndimage

from ilk.arrays import Pixels, Reals

Draw = np.random.Generator
SEVERITIES = (1, 2, 3, 4, 5)
REFERENCE_SIDE = 224  # pixels: the side that the lengths below refer to


def corrupt(pixels: Pixels, name: str, severity: int, seed: int = 0) -> Pixels:
    """Return pixels ``uint8 [H, W, 3]`` with a corruption of `CORRUPTIONS`.

    Parameters
    ----------
    pixels : uint8 array [H, W, 3]
    severity : int
        1 to 5.
    seed : int
        Seed of the random corruptions.
    """
    draw = np.random.default_rng([seed, severity])
    image = pixels.astype(np.float32) / 255
    changed = CORRUPTIONS[name](image, severity - 1, draw)
    return (changed.clip(0, 1) * 255 + 0.5).astype(np.uint8)


# --- noise ----------------------------------------------------------------------------------------


def _gaussian_noise(image: Reals, level: int, draw: Draw) -> Reals:
    return image + draw.normal(scale=(0.08, 0.12, 0.18, 0.26, 0.38)[level], size=image.shape)


def _shot_noise(image: Reals, level: int, draw: Draw) -> Reals:
    photons = (60, 25, 12, 5, 3)[level]
    return draw.poisson(image * photons) / np.float32(photons)


def _impulse_noise(image: Reals, level: int, draw: Draw) -> Reals:
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[level]
    hit = draw.random(image.shape)
    return np.where(hit < share / 2, 0, np.where(hit < share, 1, image))


# --- blur -----------------------------------------------------------------------------------------


def _defocus_blur(image: Reals, level: int, draw: Draw) -> Reals:
    radius, soft = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[level]
    wide = radius * _scale(image)
    reach = int(np.ceil(wide)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x**2 + y**2 <= wide**2).astype(np.float32)
    kernel = ndimage.gaussian_filter(disk, soft)
    return _by_channel(image, partial(ndimage.convolve, weights=kernel / kernel.sum()))


def _glass_blur(image: Reals, level: int, draw: Draw) -> Reals:
    sigma, reach, times = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[level]
    soft, most = sigma * _scale(image), max(1, round(reach * _scale(image)))
    image = _smooth(image, soft)
    height, width = image.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    for _ in range(times):
        down, right = draw.integers(-most, most + 1, (2, height, width))
        image = image[(rows + down).clip(0, height - 1), (columns + right).clip(0, width - 1)]
    return _smooth(image, soft)


def _motion_blur(image: Reals, level: int, draw: Draw) -> Reals:
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[level]
    angle = draw.uniform(-45, 45)
    return _streaked(image, radius * _scale(image), sigma * _scale(image), angle)


def _zoom_blur(image: Reals, level: int, draw: Draw) -> Reals:
    most, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[level]
    zooms = np.arange(1, most, step)
    total = image.copy()
    for zoom in zooms:
        total = total + _zoomed(image, float(zoom))
    return total / (len(zooms) + 1)


# --- weather --------------------------------------------------------------------------------------


def _snow(image: Reals, level: int, draw: Draw) -> Reals:
    mean, std, zoom, least, radius, sigma, share = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[level]
    flakes = draw.normal(mean, std, image.shape[:2]).astype(np.float32)
    flakes = _zoomed(flakes[..., None], zoom)
    flakes[flakes < least] = 0
    scale = _scale(image)
    angle = draw.uniform(-135, -45)
    flakes = _streaked(flakes.clip(0, 1), radius * scale, sigma * scale, angle)
    grey = _grey(image)
    pale = np.maximum(image, grey * 1.5 + 0.5)
    result: Reals = share * image + (1 - share) * pale + flakes + np.rot90(flakes, 2)
    return result


def _frost(image: Reals, level: int, draw: Draw) -> Reals:
    kept, frost = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[level]
    cloud = _cloud(image.shape[:2], 1.6, draw)
    needles = np.abs(2 * _cloud(image.shape[:2], 1.3, draw) - 1)  # thin lines where it is zero
    ice = (0.35 + 0.65 * cloud) * (1 - needles**0.5) + 0.25 * cloud
    tint = np.array([0.85, 0.93, 1.0], np.float32)
    return kept * image + frost * ice[..., None].astype(np.float32) * tint


def _fog(image: Reals, level: int, draw: Draw) -> Reals:
    strength, decay = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))[level]
    most = image.max()
    foggy = image + strength * _cloud(image.shape[:2], decay, draw)[..., None]
    result: Reals = foggy * most / (most + strength)
    return result


def _brightness(image: Reals, level: int, draw: Draw) -> Reals:
    """Raise the V of HSV: the largest channel of each pixel, and the others with it."""
    value = image.max(axis=2, keepdims=True)
    brighter = (value + (0.1, 0.2, 0.3, 0.4, 0.5)[level]).clip(0, 1)
    return np.where(value > 0, image * brighter / np.maximum(value, 1e-6), brighter)


# --- digital --------------------------------------------------------------------------------------


def _contrast(image: Reals, level: int, draw: Draw) -> Reals:
    mean = image.mean(axis=(0, 1), keepdims=True)
    result: Reals = (image - mean) * (0.4, 0.3, 0.2, 0.1, 0.05)[level] + mean
    return result


def _elastic(image: Reals, level: int, draw: Draw) -> Reals:
    """Shift pixels by a smooth random field (Simard et al. 2003), after a random affine map."""
    # In sides: how far, how smooth, and by how much the corners move.
    alpha, sigma, corner = (
        (2, 0.7, 0.1),
        (2, 0.08, 0.2),
        (0.05, 0.01, 0.02),
        (0.07, 0.01, 0.02),
        (0.12, 0.01, 0.02),
    )[level]
    height, width = image.shape[:2]
    side = min(height, width)
    centre, third = np.array([height, width]) / 2, side / 3
    three = np.array([centre + third, [centre[0] + third, centre[1] - third], centre - third])
    moved = three + draw.uniform(-corner * side, corner * side, three.shape)
    affine = np.linalg.solve(np.c_[moved, np.ones(3)], three)  # from where each pixel comes
    field = [
        ndimage.gaussian_filter(draw.uniform(-1, 1, (height, width)), sigma * side, truncate=3)
        * alpha
        * side
        for _ in range(2)
    ]
    rows, columns = np.mgrid[:height, :width]
    places = np.stack([rows, columns, np.ones_like(rows)], axis=-1) @ affine
    at = [places[..., 0] + field[0], places[..., 1] + field[1]]
    return _by_channel(
        image, partial(ndimage.map_coordinates, coordinates=at, order=1, mode="reflect")
    )


def _pixelate(image: Reals, level: int, draw: Draw) -> Reals:
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[level]
    height, width = image.shape[:2]
    whole = _as_image(image)
    small = whole.resize(
        (max(1, int(width * share)), max(1, int(height * share))), Image.Resampling.BOX
    )
    return _from_image(small.resize((width, height), Image.Resampling.NEAREST))


def _jpeg(image: Reals, level: int, draw: Draw) -> Reals:
    buffer = io.BytesIO()
    _as_image(image).save(buffer, "JPEG", quality=(25, 18, 15, 10, 7)[level])
    return _from_image(Image.open(buffer))


CORRUPTIONS: Mapping[str, Callable[[Reals, int, Draw], Reals]] = {
    "gaussian noise": _gaussian_noise,
    "shot noise": _shot_noise,
    "impulse noise": _impulse_noise,
    "defocus blur": _defocus_blur,
    "glass blur": _glass_blur,
    "motion blur": _motion_blur,
    "zoom blur": _zoom_blur,
    "snow": _snow,
    "frost": _frost,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "elastic": _elastic,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
}


# --- parts ----------------------------------------------------------------------------------------


def _scale(image: Reals) -> float:
    return float(min(image.shape[:2]) / REFERENCE_SIDE)


def _grey(image: Reals) -> Reals:
    result: Reals = image.mean(axis=2, keepdims=True)
    return result


def _by_channel(image: Reals, change: Callable[[Reals], Reals]) -> Reals:
    return np.stack([change(image[..., c]) for c in range(image.shape[2])], axis=2)


def _smooth(image: Reals, sigma: float) -> Reals:
    result: Reals = ndimage.gaussian_filter(image, (sigma, sigma, 0))
    return result


def _streaked(image: Reals, radius: float, sigma: float, angle: float) -> Reals:
    """Blur along a line, one-sided as by a moving camera."""
    reach = max(1, round(radius))
    weights = np.exp(-(np.arange(reach + 1) ** 2) / (2 * max(sigma, 0.3) ** 2))
    across, down = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    total = np.zeros_like(image)
    for step, weight in enumerate(weights / weights.sum()):
        shift = (round(step * down), round(step * across), 0)
        total += np.float32(weight) * ndimage.shift(image, shift, order=0, mode="nearest")
    return total


def _zoomed(image: Reals, zoom: float) -> Reals:
    """Enlarge the middle of an image ``[H, W, C]`` to its size."""
    height, width = image.shape[:2]
    matrix = [1 / zoom, 1 / zoom]
    offset = [(height - 1) * (1 - 1 / zoom) / 2, (width - 1) * (1 - 1 / zoom) / 2]
    return _by_channel(
        image,
        partial(ndimage.affine_transform, matrix=matrix, offset=offset, order=1, mode="nearest"),
    )


def _cloud(shape: tuple[int, int], decay: float, draw: Draw) -> Reals:
    """Return a cloud ``[H, W]``, 0 to 1, by midpoint displacement (Fournier et al. 1982).

    With ``decay``, how fast details fade, as in the paper's plasma fractal.
    """
    side = 1 << int(np.ceil(np.log2(max(shape))))
    cloud = draw.uniform(-1, 1, (2, 2))
    strength = 1.0
    while len(cloud) < side:
        cloud = ndimage.zoom(cloud, 2, order=1, mode="grid-wrap", grid_mode=True)
        strength /= decay
        cloud = cloud + draw.uniform(-strength, strength, cloud.shape)
    cloud = cloud[: shape[0], : shape[1]]
    cloud = cloud - cloud.min()
    result: Reals = (cloud / max(cloud.max(), 1e-6)).astype(np.float32)
    return result


def _as_image(image: Reals) -> Image.Image:
    return Image.fromarray((image.clip(0, 1) * 255 + 0.5).astype(np.uint8))


def _from_image(image: Image.Image) -> Reals:
    return np.asarray(image.convert("RGB"), np.float32) / 255
