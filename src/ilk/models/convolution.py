"""Convolution: PyTorch's, but faster to train in bf16 on a CPU when feature maps are narrow.

oneDNN multiplies row by row, and rows of 3 or 7 pixels fill only a fraction of an AMX tile,
particularly in the gradient of the filters. So the maps are laid side by side in a few long strips,
separated by the zeros that pad them. Outputs and gradients are the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NARROW = 8  # pixels; rows of twice as many fill the tiles by themselves
STRIP = 100  # pictures in a strip, at most


class Convolution(nn.Conv2d):
    """A 3 x 3 convolution with same padding and no bias."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Turn ``[N, channels, H, W]`` into ``[N, width, H, W]``."""
        in_bf16_on_cpu = x.device.type == "cpu" and x.dtype == torch.bfloat16
        if not (torch.is_grad_enabled() and in_bf16_on_cpu and x.shape[3] <= NARROW):
            return super().forward(x)
        strips = F.conv2d(side_by_side(x), self.weight, padding=1)
        return apart(strips, len(x), x.shape[3])


def side_by_side(x: Tensor) -> Tensor:
    """Lay feature maps ``[N, C, H, W]`` side by side, a column of zeros after each.

    Returns
    -------
    Tensor [M, C, H, S x (W + 1)], channels last
        M strips of S maps; the last strip may be padded with maps of zeros.
    """
    number = -(-len(x) // STRIP)
    fill = -len(x) % number
    rows = F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, 1, 0, 0, 0, fill))
    laid: Tensor = rows.unflatten(0, (number, -1)).transpose(1, 2).flatten(2, 3)
    return laid.permute(0, 3, 1, 2)


def apart(strips: Tensor, pictures: int, width: int) -> Tensor:
    """Undo `side_by_side`: return ``pictures`` maps, ``[N, C, H, width]``."""
    cells = strips.permute(0, 2, 3, 1).unflatten(2, (-1, width + 1))[:, :, :, :width]
    rows: Tensor = cells.transpose(1, 2).flatten(0, 1)[:pictures]
    return rows.contiguous().permute(0, 3, 1, 2)
