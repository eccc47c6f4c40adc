"""Alignment: register one picture onto another by shift and stretch, and correlate the two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Floats

Doubles = NDArray[np.float64]
STEPS = 3
MAX_OFFSET = 0.2  # of a side; larger crops do not count as near copies
MARGIN = 2  # pixels at the border, which a shift extrapolates
DETAIL = 1.5  # pixels: detail is what a Gaussian blur of this width removes
ROUNDING = 0.5  # grey levels; smaller differences are rounding
WINDOWS = 8  # along each side
DETAIL_IN_WINDOWS = 3 / 128  # of a side: the blur that removes detail
TEXTURE = 4.0  # grey levels squared: the variance of detail above which a window shows some
REFINED_BY = (1 / 32, 3 / 256)  # of a side: blurs, one after the other


def registered(one: Floats, other: Floats, place: Floats | None = None) -> Floats:
    """Register pictures onto others by Gauss-Newton steps on their intensities.

    A cropped copy shows the picture stretched and shifted. The derivatives are taken once,
    of the picture that stays (Lucas & Kanade 1981; Baker & Matthews 2004, section 3).

    Parameters
    ----------
    one, other : float32 arrays [N, S, S]
        Luma of pairs of pictures, blurred.
    place : float32 array [N, 4], optional
        Initial values.

    Returns
    -------
    float32 array [N, 4]
        Stretch and shift along y, then along x, as shares of the side.
    """
    number, side = one.shape[0], one.shape[-1]
    one, other = _standard(one), _standard(other)
    away = (np.arange(side, dtype=np.float32) - (side - 1) / 2) / side
    dy, dx = np.gradient(other * np.float32(side), axis=(1, 2))
    # Brightness and contrast may differ too: they are fitted along, and discarded.
    basis = np.stack([dy * away[:, None], dy, dx * away, dx, other, np.ones_like(other)], axis=1)
    basis = basis.reshape(number, 6, -1)
    gram: Floats = np.matmul(basis, basis.transpose(0, 2, 1))
    ridge = 1e-3 * np.trace(gram, axis1=1, axis2=2) / 6  # for pictures with edges one way only
    gram += ridge[:, None, None] * np.eye(6, dtype=np.float32)
    place = np.zeros((number, 4), np.float32) if place is None else place
    for _ in range(STEPS):
        warped, inside = _warped(one, place)
        rest = ((other - warped) * inside).reshape(number, -1, 1)
        step = np.linalg.solve(gram, basis @ rest)[:, :4, 0]
        place = (place + step).clip(-MAX_OFFSET, MAX_OFFSET).astype(np.float32)
    return place


def likeness(one: Floats, other: Floats, place: Floats) -> Floats:
    """Return the correlation [N] of pictures [N, S, S] where they overlap."""
    warped, inside = _warped(one, place)
    return _correlation(warped, other, inside)


def likeness_of_detail(one: Floats, other: Floats, place: Floats) -> Floats:
    """Return the correlation [N] of the detail where both pictures overlap.

    About 0 for pictures that agree in their large shapes only. Pixels are in grey levels.
    """
    warped, inside = _warped(one, place)
    edge = np.zeros(one.shape[-1], np.float32)
    edge[MARGIN:-MARGIN] = 1
    inside = inside * edge[:, None] * edge
    return _correlation(detail(warped), detail(other), inside, ROUNDING)


def likeness_in_windows(one: Floats, other: Floats, place: Floats) -> Floats:
    """Return how far the detail of pictures [N, S, S] agrees in windows, [N], up to 1.

    Of the correlations in those of 8 x 8 windows that show detail in either picture, it is the
    20th percentile: like outlines do not make up for another texture. 0 if nothing is shown.
    """
    warped, inside = _warped(one, place)
    width = DETAIL_IN_WINDOWS * one.shape[-1]
    left, right = (_windows(x - _blur(x, width)) for x in (warped, other))
    left -= left.mean(axis=-1, keepdims=True)
    right -= right.mean(axis=-1, keepdims=True)
    energy = np.square(left).mean(axis=-1), np.square(right).mean(axis=-1)
    noise = np.float32(ROUNDING**2)
    correlation = (left * right).mean(axis=-1) / np.sqrt((energy[0] + noise) * (energy[1] + noise))
    shown = (np.maximum(*energy) > TEXTURE) & (_windows(inside).min(axis=-1) > 0)
    shown[~shown.any(axis=1)] = True
    agreed: Floats = np.nanquantile(np.where(shown, correlation, np.nan), 0.2, axis=1)
    return agreed.astype(np.float32)


def refined(one: Floats, other: Floats, place: Floats) -> Floats:
    """Register pictures [N, S, S] by their shapes, then by their detail, from initial values."""
    side = one.shape[-1]
    for width in REFINED_BY:
        place = registered(_blur(one, width * side), _blur(other, width * side), place)
    return place


def amount_of_detail(pictures: Floats) -> Floats:
    """Estimate the number of independent details [N] in pictures [N, S, S].

    That is the participation ratio of their energy over the pixels, times that over the
    frequencies: a few for a stroke or a horizon, some tens for a photo.
    """
    fine = detail(pictures)
    frequencies = np.abs(np.fft.rfft2(fine))
    share: Floats = (_participation(fine) * _participation(frequencies)).astype(np.float32)
    return share * np.float32(fine[0].size)


def detail(pictures: Floats) -> Floats:
    """Return pictures [N, S, S] minus their blurred version."""
    rest: Floats = pictures - blurred(pictures)
    return rest


def blurred(pictures: Floats) -> Floats:
    """Return pictures [N, S, S] after a Gaussian blur."""
    return _blur(pictures, DETAIL)


def _blur(pictures: Floats, width: float) -> Floats:
    blur = _gauss(pictures.shape[-1], width)
    left: Floats = np.matmul(np.matmul(blur, pictures), blur.T)
    return left


def _windows(pictures: Floats) -> Floats:
    """Return the pixels of each window, [N, WINDOWS**2, pixels]."""
    number, side = pictures.shape[0], pictures.shape[-1] // WINDOWS
    cut = pictures.reshape(number, WINDOWS, side, WINDOWS, side)
    return cut.transpose(0, 1, 3, 2, 4).reshape(number, WINDOWS**2, side**2)


def _participation(amplitudes: Floats) -> Doubles:
    """Return the share [N] of the places that hold most of the energy: 1 if all hold the same."""
    energy = np.square(amplitudes, dtype=np.float64)
    total, squares = energy.sum(axis=(1, 2)), np.square(energy).sum(axis=(1, 2))
    share: Doubles = total**2 / np.maximum(squares * energy[0].size, 1e-12)
    return share


def _warped(pictures: Floats, place: Floats) -> tuple[Floats, Floats]:
    """Return pictures stretched and shifted, and which pixels of the result they cover."""
    rows, has_row = _sampling(pictures.shape[-1], place[:, 0], place[:, 1])
    columns, has_column = _sampling(pictures.shape[-1], place[:, 2], place[:, 3])
    warped: Floats = np.matmul(np.matmul(rows, pictures), columns.transpose(0, 2, 1))
    return warped, has_row[:, :, None] * has_column[:, None]


def _sampling(side: int, stretch: Floats, shift: Floats) -> tuple[Floats, Floats]:
    """Return matrices [N, S, S] that sample linearly, and which samples [N, S] lie inside."""
    pixels = np.arange(side, dtype=np.float32)
    middle = np.float32((side - 1) / 2)
    at = middle + (1 + stretch[:, None]) * (pixels - middle) + side * shift[:, None]
    inside = ((at >= -0.5) & (at <= side - 0.5)).astype(np.float32)
    at = at.clip(0, side - 1)
    weights: Floats = np.maximum(0, 1 - np.abs(at[:, :, None] - pixels))
    return weights, inside


def _standard(pictures: Floats) -> Floats:
    centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    scaled: Floats = centred / (centred.std(axis=(1, 2), keepdims=True) + 1e-6)
    return scaled


def _correlation(one: Floats, other: Floats, weight: Floats, noise: float = 1e-6) -> Floats:
    """Return the correlation of weighted pixels, if each of them is known but for some noise."""
    total = weight.sum(axis=(1, 2)) + 1e-6
    one = (one - ((one * weight).sum(axis=(1, 2)) / total)[:, None, None]) * weight
    other = (other - ((other * weight).sum(axis=(1, 2)) / total)[:, None, None]) * weight
    product = (one * other).sum(axis=(1, 2))
    lengths = (np.sqrt(np.square(x).sum(axis=(1, 2)) + noise**2 * total) for x in (one, other))
    correlation: Floats = product / (next(lengths) * next(lengths))
    return correlation


def _gauss(side: int, width: float) -> Floats:
    """Return the matrix [S, S] that blurs along an axis."""
    pixels = np.arange(side)
    weights = np.exp(-np.square(pixels[:, None] - pixels) / (2 * width**2))
    blur: Floats = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return blur
