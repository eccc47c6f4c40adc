"""Convolution: PyTorch's own, quicker to train in bf16 on a CPU where pictures are narrow.

oneDNN multiplies row by row, and rows of 3 or 7 pixels fill a fraction of AMX's tiles: the gradient
of the filters reaches 0.2 to 0.8 TFLOP/s of the 2.7 that a large product does. So the pictures are
laid side by side, with gaps of zeros for the padding between them, and become a few long strips.
What comes out is the same, forwards and backwards, in a third to four fifths of the time.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NARROW = 8  # pixels that come out beside each other; the gain is gone at 15
STRIP = 600  # pictures in a strip: the greatest common divisor of this and the batch


class Convolution(nn.Conv2d):
    """As `torch.nn.Conv2d` without a bias, groups or dilation."""

    def forward(self, x: Tensor) -> Tensor:
        """Turn ``[N, C, H, W]`` into ``[N, out_channels, H', W']``."""
        in_bf16_on_cpu = x.device.type == "cpu" and x.dtype == torch.bfloat16
        narrow = x.shape[3] <= NARROW * self.stride[0]
        if torch.is_grad_enabled() and in_bf16_on_cpu and narrow:
            return self._in_strips(x)
        return super().forward(x)

    def _in_strips(self, x: Tensor) -> Tensor:
        stride, padding = self.stride[0], int(self.padding[0])
        width = (x.shape[3] + 2 * padding - self.kernel_size[0]) // stride + 1
        # Room for the padding on one side; the next picture's is the other side's.
        room = max(math.ceil((x.shape[3] + padding) / stride), width)
        strips = side_by_side(x, room * stride)
        return apart(F.conv2d(strips, self.weight, None, stride, padding), room, width, len(x))


def side_by_side(x: Tensor, room: int) -> Tensor:
    """Lay pictures beside each other.

    Parameters
    ----------
    x : Tensor [N, C, H, W]
    room : int
        Pixels for each picture, at least W; those after it are zero.

    Returns
    -------
    Tensor [N / S, C, H, S x room], channels last
        S pictures in each strip.
    """
    rows = F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, room - x.shape[3]))
    strips = rows.unflatten(0, (-1, math.gcd(len(x), STRIP))).transpose(1, 2)
    laid: Tensor = strips.flatten(2, 3)
    return laid.permute(0, 3, 1, 2)


def apart(strips: Tensor, room: int, width: int, pictures: int) -> Tensor:
    """Undo `side_by_side`: return the first ``width`` pixels of each room, ``[N, C, H, width]``."""
    groups = strips.permute(0, 2, 3, 1).unflatten(2, (-1, room))[:, :, :, :width]
    rows: Tensor = groups.transpose(1, 2).reshape(pictures, -1, width, strips.shape[1])
    return rows.permute(0, 3, 1, 2)
