"""Backbones: what they are called, what they expect, and how many parameters they have."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from ilk.errors import UsageError
from ilk.spec import Backbone, Channels, Conversion, Preprocess, Resize
from ilk.text import error_text

IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
HALF: Channels = (0.5, 0.5, 0.5)
SMALLNET = "smallnet"  # ilk's own, see `ilk.models.smallnet`; all others are timm's


@dataclass(frozen=True)
class BackboneInfo:
    """What a backbone expects and yields; ``parameters`` without its ImageNet classifier."""

    name: str
    imgsz: int
    features: int
    parameters: int
    interpolation: str
    mean: Channels
    std: Channels

    def spec(self, weights: str = "") -> Backbone:
        """Return the part of a Spec that describes this backbone."""
        return Backbone(
            name=self.name, features=self.features, mean=self.mean, std=self.std, weights=weights
        )

    def preprocess(
        self, imgsz: int | None, resize: Resize, conversion: Conversion | None = None
    ) -> Preprocess:
        """Return its preprocessing, at its own input size by default."""
        return Preprocess(
            imgsz=imgsz or self.imgsz,
            resize=resize,
            interpolation=self.interpolation,
            conversion=conversion or Conversion(),
        )


# The backbones that ilk names, so that listing them, and decoding for them, need not wait for
# torch and timm to be imported. A test holds this table to timm's own.
KNOWN = {
    info.name: info
    for info in (
        BackboneInfo("tf_efficientnet_lite0", 224, 1280, 3_371_008, "bicubic", HALF, HALF),
        BackboneInfo("tf_efficientnet_lite1", 240, 1280, 4_135_680, "bicubic", HALF, HALF),
        BackboneInfo("tf_efficientnet_lite2", 260, 1280, 4_811_072, "bicubic", HALF, HALF),
        BackboneInfo("resnet18", 224, 512, 11_176_512, "bicubic", IMAGENET_MEAN, IMAGENET_STD),
        BackboneInfo("resnet50", 224, 2048, 23_508_032, "bicubic", IMAGENET_MEAN, IMAGENET_STD),
        BackboneInfo(
            "efficientnet_b0", 224, 1280, 4_007_548, "bicubic", IMAGENET_MEAN, IMAGENET_STD
        ),
        BackboneInfo(SMALLNET, 32, 256, 1_968_792, "bicubic", HALF, HALF),
        BackboneInfo("vgg16", 224, 4096, 134_260_544, "bilinear", IMAGENET_MEAN, IMAGENET_STD),
    )
}
DEFAULT = "tf_efficientnet_lite0"


def describe(name: str) -> BackboneInfo:
    """Return what is known of a backbone; timm is imported for those that `KNOWN` lacks.

    Raises
    ------
    UsageError
        timm has no such model.
    """
    return KNOWN.get(name) or _from_timm(name)


def import_timm() -> ModuleType:
    """Import timm, which needs a torchvision that can be imported."""
    from ilk.operators import declare_missing_operators

    declare_missing_operators()
    import timm

    return timm  # type: ignore[no-any-return]


def create(name: str, classes: int | None = 0) -> Any:
    """Make a timm model with random weights, in eval mode: pooled features if ``classes`` is 0.

    ``None`` keeps the number of classes that the architecture was published with.

    Raises
    ------
    UsageError
        timm has no such model. Names that reach out to a hub are refused too.
    """
    if name == SMALLNET:
        from ilk.models.smallnet import smallnet

        return smallnet().eval()
    timm = import_timm()
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f" Near it: {', '.join(near)}." if near else ""
        raise UsageError(
            f"timm has no model '{name}'.{hint} 'ilk backbones PATTERN' searches them."
        )
    extra = {} if classes is None else {"num_classes": classes}
    return timm.create_model(name, pretrained=False, **extra).eval()


@cache  # making a network takes long, even without its weights
def _from_timm(name: str) -> BackboneInfo:
    import torch

    with torch.device("meta"):
        model = create(name)
    config = model.pretrained_cfg
    with torch.no_grad():
        features = _feature_length(name, model)
    return BackboneInfo(
        name=name,
        imgsz=config["input_size"][-1],
        features=features,
        parameters=sum(p.numel() for p in model.parameters()),
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
    )


def check_size(name: str, imgsz: int) -> None:
    """Refuse a size of input that a backbone cannot take; some take only their own.

    Raises
    ------
    UsageError
        A picture of that size does not go through.
    """
    import torch

    with torch.device("meta"):
        model, picture = create(name), torch.zeros((2, 3, imgsz, imgsz))
    try:
        with torch.no_grad():
            model(picture)
    except Exception as error:  # each architecture refuses in its own way
        reason = error_text(error, 200)
        raise UsageError(f"'{name}' cannot take --imgsz {imgsz}: {reason}") from None


def _feature_length(name: str, model: Any) -> int:
    """Return the length of the pooled features (timm's ``num_features`` is not always it)."""
    import torch

    config = model.pretrained_cfg
    shape = model(torch.zeros((2, *config["input_size"]), device="meta")).shape
    if len(shape) != 2:
        raise UsageError(
            f"'{name}' gives features of shape {list(shape[1:])}, not one vector a picture; "
            "choose another backbone."
        )
    return int(shape[1])


@dataclass(frozen=True)
class Part:
    """One part of a network, for the parameter table."""

    name: str
    kind: str
    parameters: int
    trainable: int


def parts(name: str, classes: int) -> list[Part]:
    """Return the parameters of each part of a network whose backbone is frozen.

    The last part is the new head for ``classes`` classes, which alone is trained.
    """
    import torch

    with torch.device("meta"):
        model = create(name)
    features = describe(name).features
    rows = [
        Part(child_name, type(child).__name__, sum(p.numel() for p in child.parameters()), 0)
        for child_name, child in model.named_children()
    ]
    own = sum(p.numel() for p in model.parameters(recurse=False))
    if own:
        rows.insert(0, Part("(tokens)", "Parameter", own, 0))
    head = features * classes + classes
    return [*(row for row in rows if row.parameters), Part("head", "Linear", head, head)]
