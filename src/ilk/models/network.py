"""Network: normalisation, backbone and head as one module that takes raw pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ilk.errors import ModelError, UsageError
from ilk.models.backbones import create
from ilk.models.bundle import BACKBONE, RECORDS, Bundle
from ilk.spec import Backbone, Spec, Views


class Network(nn.Module):
    """Takes pixels ``uint8 [N, H, W, 3]`` in sRGB; gives features, and logits if it has a head.

    Parameters
    ----------
    backbone : nn.Module
        Turns normalised ``float32 [N, 3, H, W]`` into features ``[N, D]``.
    spec : Backbone
        The mean and standard deviation to normalise by.
    head : nn.Linear, optional
        Turns features ``[N, D]`` into logits ``[N, K]``.
    views : {"one", "mirror", "mirror-shift"}
        Test-time augmentation: features are averaged over these views in eval mode. The head is
        linear, so this averages the logits too.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        spec: Backbone,
        head: nn.Linear | None = None,
        views: Views = "one",
    ) -> None:
        super().__init__()
        self.views = views
        mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
        self.register_buffer("scale", (1 / (255 * std)).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", (-mean / std).view(3, 1, 1), persistent=False)
        self.backbone = backbone
        self.head = head

    def forward(self, pixels: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return features ``[N, D]``, or (features, logits ``[N, K]``)."""
        features = self.features(pixels)
        logits = self.logits(features)
        return features if logits is None else (features, logits)

    def features(self, pixels: Tensor) -> Tensor:
        """Normalise pixels, and run the backbone."""
        return self.features_of(pixels.permute(0, 3, 1, 2).float())

    def features_of(self, image: Tensor) -> Tensor:
        """Return features ``[N, D]`` of images ``float32 [N, 3, H, W]`` in 0..255."""
        image = image * self.scale + self.shift
        views = [image] if self.training else _views(image, self.views)
        features: Tensor = self.backbone(views[0])
        for view in views[1:]:
            features = features + self.backbone(view)
        return features if len(views) == 1 else features / len(views)

    def logits(self, features: Tensor) -> Tensor | None:
        """Run the head, if there is one."""
        return None if self.head is None else self.head(features)


def _views(image: Tensor, views: Views) -> list[Tensor]:
    """Return what to average over; the shifts are those of Jordan 2024 (arXiv 2404.00498)."""
    kept = [image]
    if views == "mirror-shift":
        height, width = image.shape[2:]
        framed = F.pad(image, (1, 1, 1, 1), "reflect")
        kept = [image, framed[..., :height, :width], framed[..., 2:, 2:]]
    return kept if views == "one" else [*kept, *(view.flip(-1) for view in kept)]


def build(bundle: Bundle) -> Network:
    """Make the Network of a Bundle, in eval mode, every tensor checked.

    Raises
    ------
    ModelError
        The tensors do not fit the architecture that the Spec names.
    """
    spec = bundle.spec
    _refuse_misfit(bundle)
    backbone = create(spec.backbone.name)
    head = nn.Linear(spec.backbone.features, len(spec.classes)) if spec.classes else None
    network = Network(backbone, spec.backbone, head, spec.views)
    state = {
        name: torch.from_numpy(np.array(value))
        for name, value in bundle.tensors.items()
        if not name.startswith(RECORDS)
    }
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ModelError(f"The weights do not fit '{spec.backbone.name}': {reason}") from None
    return network.eval()


def _refuse_misfit(bundle: Bundle) -> None:
    """Check the tensors before allocating a network: a Spec from outside may be wrong."""
    name = bundle.spec.backbone.name
    try:
        with torch.device("meta"):
            expected = create(name).state_dict()
    except UsageError as error:
        raise ModelError(f"The model's backbone is not available here: {error}") from None
    for key, tensor in expected.items():
        found = bundle.tensors.get(BACKBONE + key)
        if found is None or found.shape != tuple(tensor.shape):
            shape = "missing" if found is None else f"{list(found.shape)}"
            raise ModelError(
                f"The weights do not fit '{name}': {key} is {shape}, expected {list(tensor.shape)}."
            )


def bundle_of(backbone: nn.Module, spec: Spec) -> Bundle:
    """Return a Bundle of a bare backbone."""
    tensors: dict[str, Any] = {
        BACKBONE + name: value.detach().cpu().numpy()
        for name, value in backbone.state_dict().items()
    }
    return Bundle(spec, tensors)
