from __future__ import annotations

import socket

import pytest

from ilk.errors import UsageError
from ilk.models.backbones import DEFAULT, KNOWN, create, describe, parts


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def test_the_default_is_known():
    assert describe(DEFAULT) is KNOWN[DEFAULT]


def test_preprocessing_follows_the_backbone_unless_told_otherwise():
    info = KNOWN["vgg16"]
    found = info.preprocess(None, "pad")
    assert (found.imgsz, found.resize, found.interpolation) == (224, "pad", "bilinear")
    assert info.preprocess(96, "squash").imgsz == 96


def test_the_spec_keeps_where_the_weights_came_from():
    spec = KNOWN["resnet18"].spec("file x.pth")
    assert (spec.name, spec.features, spec.weights) == ("resnet18", 512, "file x.pth")


def test_any_other_timm_model_is_described_by_running_it_on_no_data():
    info = describe("test_resnet")
    model = create("test_resnet")
    assert info.parameters == sum(p.numel() for p in model.parameters())
    assert info.features == model.num_features
    assert info.imgsz == model.pretrained_cfg["input_size"][-1]


def test_a_name_that_is_nearly_right_gets_a_hint():
    with pytest.raises(UsageError, match=r"timm has no model 'vgg1'.*Near it: .*vgg16"):
        create("vgg1")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["hf-hub:evil/x", "hf_hub:evil/x", "local-dir:/tmp", "", "../x"])
def test_names_that_reach_out_are_refused_without_the_network(name):
    for refused in (create, describe):
        with pytest.raises(UsageError, match="timm has no model"):
            refused(name)


def test_the_parts_add_up_and_only_the_head_is_trained():
    rows = parts("test_resnet", 5)
    info = describe("test_resnet")
    assert sum(row.parameters for row in rows[:-1]) == info.parameters
    assert (rows[-1].name, rows[-1].parameters) == ("head", 5 * info.features + 5)
    assert [row.name for row in rows if row.trainable] == ["head"]
