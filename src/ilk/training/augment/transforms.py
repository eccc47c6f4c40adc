"""Transforms: what can be done to a batch of pictures, each picture by its own measure.

Nothing here is random: `pipeline` and `trivial_augment` draw the measures. Pictures are
``uint8 [N, H, W, 3]``, measures are tensors ``[N]`` on the same device.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample

from ilk.data.decode import GREY

LEVELS = 256
PART = 2**19  # values worked on at once on a CPU
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow and torchvision weigh colours into grey


def by_parts(transform: Callable[..., Tensor], pixels: Tensor, *measures: Tensor) -> Tensor:
    """Apply a transform to a batch; on a CPU in parts that fit into its cache.

    Asking the system for the memory of a whole batch in floats takes longer than the arithmetic.

    Parameters
    ----------
    transform : callable
        Takes some of the pictures and their measures; returns as many pictures.
    pixels : tensor [N, ...]
    measures : tensors [N, ...]
    """
    if pixels.device.type != "cpu" or pixels.numel() <= PART:
        return transform(pixels, *measures)
    size = max(1, PART // pixels[0].numel())
    parts = zip(*(tensor.split(size) for tensor in (pixels, *measures)), strict=True)
    return torch.cat([transform(*part) for part in parts])


def mirror(pixels: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror the pictures that ``mirrored``, bool [N], says; left becomes right."""
    numbers = torch.arange(len(pixels), device=pixels.device)
    # Whole pictures are gathered in one go, several times as fast as `where` or writing some back.
    return torch.cat((pixels, pixels.flip(2))).index_select(0, numbers + len(pixels) * mirrored)


def shift(pixels: Tensor, right: Tensor, down: Tensor, mirrored: Tensor) -> Tensor:
    """Move each picture by whole pixels, reflecting its edges, and then mirror some.

    It is the crop of a picture that was padded by reflection, without the padding.

    Parameters
    ----------
    pixels : uint8 tensor [N, H, W, 3]
    right, down : int64 tensors [N]
        How far, in pixels: less than W and H.
    mirrored : bool tensor [N]

    Returns
    -------
    uint8 tensor [N, H, W, 3]
    """
    number, height, width, _ = pixels.shape
    device = pixels.device
    columns = _reflected(torch.arange(width, device=device) - right[:, None], width)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    rows = _reflected(torch.arange(height, device=device) - down[:, None], height)
    rows = rows + height * torch.arange(number, device=device)[:, None]
    index = (width * rows)[:, :, None] + columns[:, None, :]
    return pixels.reshape(-1, 3).index_select(0, index.view(-1)).view(pixels.shape)


def _reflected(positions: Tensor, size: int) -> Tensor:
    """Fold positions that lie outside of 0..size-1 back, without repeating the edge itself."""
    return (size - 1) - ((size - 1) - positions.abs()).abs()


def warp(pixels: Tensor, matrices: Tensor, padding: str = "zeros") -> Tensor:
    """Resample each picture bilinearly through an affine map.

    Parameters
    ----------
    pixels : uint8 tensor [N, H, W, 3]
    matrices : float32 tensor [N, 2, 3]
        Where a pixel of the result comes from: ``(x, y, 1)`` to ``(x, y)``, in pixels from the
        middle of the picture, x to the right and y down.
    padding : {"zeros", "border"}
        What lies outside of the picture: grey, or its edge drawn out.

    Returns
    -------
    uint8 tensor [N, H, W, 3]
    """
    number, height, width, _ = pixels.shape
    x = torch.arange(width, device=pixels.device) - (width - 1) / 2
    y = torch.arange(height, device=pixels.device)[:, None] - (height - 1) / 2
    # torch's affine_grid multiplies matrices for this, which takes ten times as long.
    grid = torch.empty(number, height, width, 2, device=pixels.device)
    for axis, size in enumerate((width, height)):
        a, b, c = (matrices[:, axis, :, None, None] * (2 / size)).unbind(1)
        torch.add(a * x, b * y + c, out=grid[..., axis])
    planes = pixels.permute(0, 3, 1, 2).float().sub_(GREY[0])  # what "zeros" pads with is grey then
    planes = grid_sample(planes, grid, padding_mode=padding, align_corners=False)
    return as_pixels(planes.add_(GREY[0])).permute(0, 2, 3, 1).contiguous()


def blend(other: Tensor, values: Tensor, factors: Tensor) -> Tensor:
    """Go from ``other`` towards ``values``, and beyond where the factor is above 1.

    Brightness, contrast, saturation and sharpness are blends with black, mean grey, grey and the
    blurred picture (Haeberli & Voorhies 1994, as in Pillow's ImageEnhance).

    Parameters
    ----------
    other, values : float32 tensors [N, ...] that broadcast
    factors : float32 tensor [N]
        0 gives ``other``, 1 gives ``values``.

    Returns
    -------
    float32 tensor, within 0..255
    """
    factors = factors.view(-1, *[1] * (values.ndim - 1))
    return (values * factors).add_(other * (1 - factors)).clamp_(0, LEVELS - 1)


def brightness(values: Tensor, factors: Tensor) -> Tensor:
    """Blend float values of any layout with black."""
    return blend(torch.zeros((), device=values.device), values, factors)


def contrast(values: Tensor, factors: Tensor) -> Tensor:
    """Blend float pixels [N, H, W, 3] with the mean of their grey."""
    return blend(mean_grey(values)[:, None, None, None], values, factors)


def saturation(values: Tensor, factors: Tensor) -> Tensor:
    """Blend float pixels [N, H, W, 3] with their grey."""
    return blend((values @ _luma(values))[..., None], values, factors)


def smooth(values: Tensor) -> Tensor:
    """Blur float pixels [N, H, W, 3] as Pillow's SMOOTH does; edges with what is there of them."""
    weights = torch.ones(3, 1, 3, 3, device=values.device)
    weights[:, :, 1, 1] = 5
    planes = values.permute(0, 3, 1, 2)
    covered = conv2d(torch.ones_like(planes[:1]), weights, padding=1, groups=3)
    return (conv2d(planes, weights, padding=1, groups=3) / covered).permute(0, 2, 3, 1)


def mean_grey(values: Tensor) -> Tensor:
    """Return the mean grey of float pixels ``[N, H, W, 3]``: float32 [N]."""
    return values.mean((1, 2)) @ _luma(values)


def as_pixels(values: Tensor) -> Tensor:
    """Round floats within 0..255, which are overwritten, to ``uint8``."""
    return values.add_(0.5).to(torch.uint8)


def lookup(pixels: Tensor, tables: Tensor) -> Tensor:
    """Replace every value by what the picture's table for the channel says.

    Parameters
    ----------
    pixels : uint8 tensor [N, H, W, 3]
    tables : uint8 tensor [N, 3, 256]
    """
    return tables.reshape(-1).index_select(0, _table_index(pixels)).view(pixels.shape)


def histogram(pixels: Tensor) -> Tensor:
    """Count how often each value occurs in each channel: int64 tensor [N, 3, 256]."""
    counts = _table_index(pixels).bincount(minlength=3 * LEVELS * len(pixels))
    return counts.view(-1, 3, LEVELS)


def _table_index(pixels: Tensor) -> Tensor:
    channels = torch.arange(3 * len(pixels), dtype=torch.int32, device=pixels.device)
    return (pixels + LEVELS * channels.view(-1, 1, 1, 3)).view(-1)


def _luma(like: Tensor) -> Tensor:
    return torch.tensor(LUMA, device=like.device)
