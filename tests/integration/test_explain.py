"""Heat maps, by networks of several kinds with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ilk.inference.explain import Explainer, overlay
from ilk.models.backbones import create
from ilk.models.bundle import HEAD_BIAS, HEAD_WEIGHT, Bundle
from ilk.models.network import bundle_of
from ilk.spec import Backbone, Preprocess, Spec


def classifier(name: str, imgsz: int = 224) -> Bundle:
    torch.manual_seed(0)
    backbone = create(name).eval()
    with torch.no_grad():
        width = backbone(torch.zeros(1, 3, imgsz, imgsz)).shape[1]
    spec = Spec(
        backbone=Backbone(name=name, features=width, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        preprocess=Preprocess(imgsz=imgsz),
        classes=("a", "b"),
    )
    bare = bundle_of(backbone, spec)
    draw = np.random.default_rng(0)
    head = {
        HEAD_WEIGHT: draw.normal(size=(2, width)).astype(np.float32),
        HEAD_BIAS: np.zeros(2, np.float32),
    }
    return Bundle(spec, {**bare.tensors, **head})


@pytest.mark.parametrize(
    ("name", "imgsz"),
    [
        ("tf_efficientnet_lite0", 224),
        ("resnet18", 64),
        pytest.param("vgg11", 64, marks=pytest.mark.slow),
        ("vit_tiny_patch16_224", 224),
        ("swin_tiny_patch4_window7_224", 224),
        ("smallnet", 32),
    ],
)
def test_any_network_can_be_explained(name, imgsz):
    pixels = np.random.default_rng(1).integers(0, 256, (3, imgsz, imgsz, 3), np.uint8)
    explainer = Explainer(classifier(name, imgsz))
    heat = explainer.heatmaps(pixels, [0, 1, 0])
    assert (heat.shape, heat.dtype) == ((3, imgsz, imgsz), np.float32)
    assert (heat >= 0).all()
    assert (heat <= 1).all()
    assert heat.max() == pytest.approx(1)
    assert np.array_equal(heat, explainer.heatmaps(pixels, [0, 1, 0]))
    image = overlay(pixels[0], heat[0])
    assert image.size == (imgsz, imgsz)


def test_the_map_is_warm_where_the_class_is_and_not_elsewhere():
    """A network whose one feature is how red a place is; the head asks for it."""
    bundle = classifier("resnet18", 64)
    explainer = Explainer(bundle)

    class Redness(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = torch.nn.AvgPool2d(8)

        def forward(self, image):
            red = torch.relu(image[:, :1] - image[:, 1:2])
            places = self.pool(torch.cat([red, red * 0], dim=1))
            return places.mean(dim=(2, 3))

    network = explainer._network
    network.backbone = Redness()
    network.head = torch.nn.Linear(2, 2)
    with torch.no_grad():
        network.head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    explainer._layer = network.backbone.pool
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    pixels[0, 8:24, 40:56, 0] = 255
    (heat,) = explainer.heatmaps(pixels, [0])
    assert heat[16, 48] > 0.9
    assert heat[:, :24].max() == 0
    assert heat[40:].max() == 0
