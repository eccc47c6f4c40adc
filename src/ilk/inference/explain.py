"""Explain: which parts of a picture speak for the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ilk.arrays import Floats, Pixels
from ilk.models.bundle import Bundle

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ilk.models.network import Network

SAMPLES, NOISE = 8, 12.0  # of SmoothGrad: noisy copies, and how noisy, in levels of 255
STRENGTH = 0.55  # of the colours over the picture


class Explainer:
    """Says how much each place of a picture speaks for an answer.

    Grad-CAM on the last feature map, for networks that have one (Selvaraju et al. 2017,
    arXiv 1610.02391); for others, such as transformers, the size of the gradient of the pixels,
    averaged over noisy copies and blurred (SmoothGrad: Smilkov et al. 2017, arXiv 1706.03825). Both
    by captum.

    Parameters
    ----------
    bundle : Bundle
        A classifier.
    """

    def __init__(self, bundle: Bundle) -> None:
        from ilk.models.network import build

        side = bundle.spec.preprocess.imgsz
        self._network = build(bundle)
        self._network.views = "one"
        self._layer = _last_map(self._network, np.zeros((1, side, side, 3), np.uint8))

    def heatmaps(self, pixels: Pixels, answers: Sequence[int]) -> Floats:
        """Return a heat map of each picture.

        Parameters
        ----------
        pixels : uint8 array [N, S, S, 3]
        answers : sequence of int
            The class of each that is to be explained.

        Returns
        -------
        float32 array [N, S, S]
            0 to 1; the largest of each picture is 1, unless nothing speaks for the answer.
        """
        import torch

        batch = torch.from_numpy(pixels.astype(np.float32))
        targets = torch.tensor(answers)
        if self._layer is not None:
            found = _grad_cam(self._network, self._layer, batch, targets)
        else:
            found = _smooth_grad(self._network, batch, targets)
        heat = found.detach().numpy()
        result: Floats = heat / np.maximum(heat.max(axis=(1, 2), keepdims=True), 1e-12)
        return result


def overlay(pixels: Pixels, heat: Floats) -> Image.Image:
    """Lay a heat map ``[S, S]`` over a picture ``uint8 [S, S, 3]``: warm is what speaks for it."""
    from matplotlib import colormaps

    colours = colormaps["turbo"](heat)[..., :3] * 255
    weight = STRENGTH * heat[..., None]
    mixed = pixels * (1 - weight) + colours * weight
    return Image.fromarray((mixed + 0.5).astype(np.uint8))


def _last_map(network: Network, pixels: Pixels) -> nn.Module | None:
    """Return the module that gives the last feature map ``[N, C, H, W]``, if one does."""
    import torch

    last: list[nn.Module] = []

    def look(module: nn.Module, _: Any, output: Any) -> None:
        if not isinstance(output, torch.Tensor) or output.ndim != 4:
            return
        channels, height, width = output.shape[1:]
        # Some transformers put the channels last; their maps are no maps for Grad-CAM.
        if height == width > 1 and channels != height:
            last.append(module)

    hooks = [m.register_forward_hook(look) for m in network.backbone.modules()]
    with torch.no_grad():
        network.features(torch.from_numpy(pixels))
    for hook in hooks:
        hook.remove()
    return last[-1] if last else None


def _logits(network: Network) -> Any:
    return lambda pixels: network(pixels)[1]


def _grad_cam(network: Network, layer: nn.Module, batch: Tensor, targets: Tensor) -> Tensor:
    from captum.attr import LayerAttribution, LayerGradCam

    found = LayerGradCam(_logits(network), layer).attribute(
        batch, target=targets, relu_attributions=True
    )
    large = LayerAttribution.interpolate(found, tuple(batch.shape[1:3]), "bilinear")
    result: Tensor = large[:, 0].clamp(min=0)
    return result


def _smooth_grad(network: Network, batch: Tensor, targets: Tensor) -> Tensor:
    import torch
    import torch.nn.functional as F
    from captum.attr import NoiseTunnel, Saliency

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = NoiseTunnel(Saliency(_logits(network))).attribute(
            batch.requires_grad_(), nt_samples=SAMPLES, stdevs=NOISE, target=targets
        )
    reach = batch.shape[1] // 32
    blurred = found.amax(dim=3)[:, None]
    for _ in range(2):
        blurred = F.avg_pool2d(blurred, 2 * reach + 1, stride=1, padding=reach)
    result: Tensor = blurred[:, 0]
    return result
