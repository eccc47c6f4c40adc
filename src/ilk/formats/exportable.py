"""The Network wrapped for export: raw pixels in, calibrated probabilities out. Imports torch."""

from __future__ import annotations

from torch import Tensor, nn

from ilk.models.bundle import Bundle
from ilk.models.network import Network, build


class Exportable(nn.Module):
    """Takes pixels ``uint8 [N, H, W, 3]`` in sRGB.

    Returns probabilities ``[N, K]``, calibrated by the model's temperature; the logits ``[N, K]``
    that they come from; and the features ``[N, D]`` used to detect out-of-distribution pictures.
    """

    def __init__(self, network: Network, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return probabilities, logits and features."""
        features, logits = self.network(pixels)
        return (logits / self.temperature).softmax(dim=1), logits, features


def exportable(bundle: Bundle) -> Exportable:
    """Wrap a Bundle's Network for export, in eval mode and without gradients."""
    return Exportable(build(bundle), bundle.spec.temperature).eval().requires_grad_(False)
