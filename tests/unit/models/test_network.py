from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ilk.errors import ModelError
from ilk.models.backbones import create
from ilk.models.bundle import HEAD_BIAS, HEAD_WEIGHT
from ilk.models.network import Network, build, bundle_of
from ilk.spec import Backbone, Preprocess, Spec

NAME = "test_resnet"  # timm's own miniature, for tests such as these
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    backbone = create(NAME)
    features = backbone.num_features
    spec = Spec(
        backbone=Backbone(name=NAME, features=features, mean=MEAN, std=STD),
        preprocess=Preprocess(imgsz=32),
    )
    return bundle_of(backbone, spec)


def with_head(bundle, classes=("a", "b", "c")):
    rng = np.random.default_rng(0)
    width = bundle.spec.backbone.features
    head = {
        HEAD_WEIGHT: rng.normal(size=(len(classes), width)).astype(np.float32),
        HEAD_BIAS: rng.normal(size=len(classes)).astype(np.float32),
    }
    spec = bundle.spec.model_copy(update={"classes": classes})
    return replace(bundle, spec=spec, tensors={**bundle.tensors, **head})


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)


def test_raw_pixels_reach_the_backbone_as_x_over_255_less_mean_over_std(pixels):
    spec = Backbone(name=NAME, features=1, mean=MEAN, std=STD)
    seen = Network(nn.Identity(), spec)(torch.from_numpy(pixels)).numpy()
    expected = (pixels / 255 - np.array(MEAN)) / np.array(STD)
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen, expected.transpose(0, 3, 1, 2), atol=1e-5)


def test_the_network_is_timms_backbone_and_the_head(tiny, pixels):
    bundle = with_head(tiny)
    backbone = create(NAME)
    backbone.load_state_dict(
        {
            k.removeprefix("backbone."): torch.from_numpy(np.array(v))
            for k, v in tiny.tensors.items()
        }
    )
    image = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    image = (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    network = build(bundle)
    with torch.no_grad():
        features, logits = network(torch.from_numpy(pixels))
        expected = backbone(image)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(logits, bundle.logits(features.numpy()), atol=1e-4)
    assert not network.training


def test_a_bare_backbone_gives_features_alone(tiny, pixels):
    with torch.no_grad():
        features = build(tiny)(torch.from_numpy(pixels))
    assert features.shape == (4, tiny.spec.backbone.features)


def test_the_state_is_backbone_and_head_and_nothing_else(tiny):
    names = set(build(with_head(tiny)).state_dict())
    assert names == set(with_head(tiny).tensors)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"backbone.conv1.0.weight": np.zeros((1, 2), np.float32)},
            r"conv1\.0\.weight is \[1, 2\]",
        ),
        ({"backbone.extra": np.zeros(1, np.float32)}, "Unexpected key"),
        ({"backbone.conv1.0.weight": None}, r"conv1\.0\.weight is missing"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tiny, change, said):
    tensors = {k: v for k, v in {**tiny.tensors, **change}.items() if v is not None}
    with pytest.raises(ModelError, match=rf"do not fit '{NAME}': .*{said}"):
        build(replace(tiny, tensors=tensors))


def test_a_backbone_that_timm_lacks_is_a_model_error(bare_bundle):
    backbone = bare_bundle.spec.backbone.model_copy(update={"name": "no_such_net"})
    spec = bare_bundle.spec.model_copy(update={"backbone": backbone})
    with pytest.raises(ModelError, match=re.escape("timm has no model 'no_such_net'")):
        build(replace(bare_bundle, spec=spec))
