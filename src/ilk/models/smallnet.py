"""SmallNet: ilk's own backbone for small pictures (8 to 64 px), quick to train on a CPU.

It is built on what the CIFAR-10 speed records teach: Jordan 2024 (arXiv 2404.00498, "airbench"),
after Page 2018 ("How to train your ResNet") and tysam-code's hlb-CIFAR10. From there come the
frozen whitening layer, the identity (dirac) initialisation, batch norms without a scale and with
quickly moving statistics, and features scaled down to the head.

Tried on training pictures of CIFAR-10 that were held out, each once: ReLU, hardswish and SiLU
instead of GELU teach less. So does halving the picture by a convolution of 4 x 4 in steps of 2,
which spares the pooling: its steps are quicker, but not by enough.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilk.errors import UsageError
from ilk.models.convolution import Convolution

WIDTHS = (64, 256, 256)
WHITEN_KERNEL = 2
WHITEN_WIDTH = 2 * 3 * WHITEN_KERNEL**2
# How fast the batch norms' running statistics move; short trainings cannot wait (Jordan 2024).
STATISTICS_MOMENTUM = 0.4
SMALLEST, TIGHT = 8, 16
ACTIVATION = nn.GELU


class SmallNet(nn.Module):
    """Turns normalised pictures ``float [N, 3, H, W]`` into features ``[N, D]``.

    The features are scaled by ``1 / sqrt(D)``, so that a plain `nn.Linear` of PyTorch's own
    initialisation is the right head. The children, ``whiten`` and the stages, are the layer groups.

    Parameters
    ----------
    widths : sequence of int
        Channels of each stage; each halves the picture. The last one is D, the number of features.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.whiten = Whiten()
        self.stages = tuple(f"stage{number}" for number in range(1, len(widths) + 1))
        before = (WHITEN_WIDTH, *widths)
        for name, channels, width in zip(self.stages, before, widths, strict=False):
            self.add_module(name, Stage(channels, width))
        self.num_features = widths[-1]

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of pictures of at least 8 x 8 pixels."""
        x = self.whiten(images)
        for name in self.stages:
            x = self.get_submodule(name)(x)
        pooled: Tensor = x.amax(dim=(2, 3))
        return pooled * math.sqrt(1 / self.num_features)


class Whiten(nn.Conv2d):
    """The first layer: frozen filters of 2 x 2 that decorrelate, each with both signs.

    The filters are a buffer, which no optimizer sees; the bias is trained. `whiten` sets the
    filters; before that they are random.
    """

    def __init__(self) -> None:
        super().__init__(3, WHITEN_WIDTH, WHITEN_KERNEL)
        half = self.weight.detach()[: WHITEN_WIDTH // 2]
        del self.weight
        self.register_buffer("weight", torch.cat((half, -half)))
        self.activation = ACTIVATION()

    def forward(self, images: Tensor) -> Tensor:
        """Return ``[N, 24, H - 1, W - 1]``, or ``[N, 24, H + 1, W + 1]`` of small pictures."""
        # Three halvings of fewer than 8 pixels would leave nothing.
        margin = 1 if min(images.shape[2:]) < TIGHT else 0
        x: Tensor = F.conv2d(images, self.weight, self.bias, padding=margin)
        return self.activation(x)  # type: ignore[no-any-return]


class Stage(nn.Module):
    """Halves the picture and widens it, then looks once more: two convolutions."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = convolution(channels, width)
        self.norm1 = Norm(width)
        self.conv2 = convolution(width, width)
        self.norm2 = Norm(width)
        self.activation = ACTIVATION()

    def forward(self, x: Tensor) -> Tensor:
        """Turn ``[N, C, H, W]`` into ``[N, width, H // 2, W // 2]``."""
        x = F.max_pool2d(self.conv1(x), 2, stride=2)
        x = self.activation(self.norm1(x))
        return self.activation(self.norm2(self.conv2(x)))  # type: ignore[no-any-return]


class Norm(nn.BatchNorm2d):
    """Batch norm with a bias but no scale, which the next filters would undo."""

    def __init__(self, width: int) -> None:
        super().__init__(width, momentum=STATISTICS_MOMENTUM)
        self.register_parameter("weight", None)

    def reset_parameters(self) -> None:
        """Start from no statistics and no bias."""
        self.reset_running_stats()
        nn.init.zeros_(self.bias)


def convolution(channels: int, width: int) -> nn.Conv2d:
    """Return a 3 x 3 convolution without bias whose first filters pass their input on."""
    conv = Convolution(channels, width)
    passed = min(channels, width)
    with torch.no_grad():
        nn.init.dirac_(conv.weight[:passed])
    return conv


def smallnet(widths: tuple[int, ...] = WIDTHS) -> SmallNet:
    """Make a SmallNet with random weights, drawn from torch's global generator (seed it before)."""
    return SmallNet(widths)


def whiten(net: SmallNet, images: Tensor, *, limit: int = 5000, eps: float = 5e-4) -> None:
    """Set the first layer from training pictures, so that its outputs are decorrelated.

    Parameters
    ----------
    images : float tensor [M, 3, H, W]
        Training pictures as the net will see them: normalised, not augmented.
    limit : int
        At most so many are looked at, evenly spread over ``images``.
    eps : float
        Added to the variances, so that the faintest directions are not blown up.

    Raises
    ------
    UsageError
        There is no picture, or the pictures are smaller than the filters.
    """
    if images.ndim != 4 or not len(images) or min(images.shape[2:]) < WHITEN_KERNEL:
        raise UsageError(
            f"Whitening got pictures of shape {list(images.shape)}; it needs [M, 3, H, W] with at "
            f"least one picture of {WHITEN_KERNEL} x {WHITEN_KERNEL} pixels."
        )
    variances, directions = torch.linalg.eigh(_covariance(images[:: -(-len(images) // limit)]))
    # Directions in which the pictures do not vary at all, as colours in grey pictures, are left
    # out: divided by almost nothing, a first hint of colour would drown all else.
    varying = variances > 1e-6 * variances[-1]
    scaled = directions.T * (varying / (variances.clamp(min=0) + eps).sqrt())[:, None]
    half = scaled.view(-1, *net.whiten.weight.shape[1:])
    net.whiten.weight.copy_(torch.cat((half, -half)))


def _covariance(images: Tensor) -> Tensor:
    """Return the uncentred covariance, float64, of all 2 x 2 patches, some pictures at a time."""
    size = 3 * WHITEN_KERNEL**2
    total = torch.zeros(size, size, dtype=torch.float64, device=images.device)
    count = 0
    for some in images.split(256):
        patches = F.unfold(some.float(), WHITEN_KERNEL).transpose(0, 1).reshape(size, -1)
        total += (patches @ patches.T).double()
        count += patches.shape[1]
    return total / count
