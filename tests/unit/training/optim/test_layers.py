from __future__ import annotations

import re
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ilk.errors import UsageError
from ilk.models.backbones import create, import_timm
from ilk.models.network import Network
from ilk.spec import Backbone
from ilk.training.optim.layers import freeze, frozen_names, layer_groups, set_training_mode

NONE = frozenset()


def network_of(backbone, features=8):
    spec = Backbone(name="any", features=features, mean=(0, 0, 0), std=(1, 1, 1))
    return Network(backbone, spec, nn.Linear(features, 3))


def tiny(name):
    backbone = create(name)
    return network_of(backbone, backbone.num_features)


@pytest.fixture(scope="module")
def efficientnet():
    return tiny("test_efficientnet")


@pytest.fixture(scope="module")
def resnet():
    return tiny("test_resnet")


def names_of(network):
    return [name for name, _ in network.named_parameters()]


def backbone_names(network):
    return frozenset(name for name in names_of(network) if name.startswith("backbone."))


def in_training(network):
    return {name for name, module in network.named_modules() if module.training}


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit", "test_convnext"])
def test_layer_groups_hold_every_parameter_once_and_end_with_the_head(name):
    network = tiny(name)
    groups = layer_groups(network)
    assert sorted(chain(*groups)) == sorted(names_of(network))
    assert groups[-1] == ["head.weight", "head.bias"]


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit"])
def test_layer_groups_are_those_of_timm(name):
    models = import_timm().models
    published = create(name, classes=3)
    timms = models.group_parameters(published, published.group_matcher(coarse=False))
    head = published.pretrained_cfg["classifier"] + "."
    expected = [{re.sub("^", "backbone.", n) for n in names} for names in timms.values()]
    expected[-1] = {"head." + n.removeprefix(head) for n in timms[len(timms) - 1]}
    assert [set(names) for names in layer_groups(tiny(name))] == expected


def test_a_model_without_groups_of_its_own_is_grouped_by_its_children():
    backbone = nn.Sequential()
    backbone.add_module("stem", nn.Linear(8, 8))
    backbone.add_module("body", nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)))
    assert [names[0] for names in layer_groups(network_of(backbone))] == [
        "backbone.stem.weight",
        "backbone.body.0.weight",
        "head.weight",
    ]


def test_a_network_without_a_head_has_the_groups_of_its_backbone(resnet):
    bare = Network(resnet.backbone, Backbone(name="any", features=8, mean=(0,) * 3, std=(1,) * 3))
    assert layer_groups(bare) == layer_groups(resnet)[:-1]


def test_none_freezes_nothing_and_backbone_all_but_the_head(resnet):
    assert frozen_names(resnet, "none") == NONE
    assert frozen_names(resnet, "backbone") == backbone_names(resnet)


@pytest.mark.parametrize("part", ["blocks.1", "backbone.blocks.1"])
def test_a_part_is_frozen_with_all_that_comes_before_it(efficientnet, part):
    frozen = frozen_names(efficientnet, part)
    tops = {".".join(name.split(".")[1:3]) for name in frozen}
    assert tops == {"conv_stem.weight", "bn1.weight", "bn1.bias", "blocks.0", "blocks.1"}


def test_the_last_part_is_the_whole_backbone(resnet):
    assert frozen_names(resnet, "layer4") == backbone_names(resnet)


@pytest.mark.parametrize("part", ["blocks.1", "blocks.3.0.conv_pw", "conv_stem", "bn2"])
def test_frozen_parameters_come_before_all_others(efficientnet, part):
    flags = [name in frozen_names(efficientnet, part) for name in names_of(efficientnet)]
    assert flags == sorted(flags, reverse=True)
    assert any(flags)


def test_tokens_and_positions_come_before_the_first_block():
    assert "backbone.pos_embed" in frozen_names(tiny("test_vit"), "patch_embed")


@pytest.mark.parametrize("part", ["blokcs", "blocks.99", "block", "global_pool", "head", ""])
def test_an_unknown_part_is_refused_with_those_there_are(efficientnet, part):
    with pytest.raises(UsageError, match=r"freeze.*conv_stem, bn1, blocks, conv_head, bn2"):
        frozen_names(efficientnet, part)


def test_a_misspelt_part_is_told_what_is_near(efficientnet):
    with pytest.raises(UsageError, match=r"Similar: .*conv_stem"):
        frozen_names(efficientnet, "conv_stm")


def test_thawing_goes_down_one_layer_group_at_a_time(resnet):
    groups = layer_groups(resnet)
    for thawed in range(len(groups) + 2):
        frozen = frozen_names(resnet, "backbone", thawed)
        assert frozen == frozenset(chain(*groups[: max(0, len(groups) - 1 - thawed)]))


def test_thawing_begins_at_the_topmost_frozen_group(resnet):
    assert frozen_names(resnet, "layer2", 1) == frozen_names(resnet, "layer1")


def test_a_group_that_is_frozen_in_part_is_thawed_first(efficientnet):
    """``blocks.3.0.conv_pw`` is the beginning of a layer group."""
    assert frozen_names(efficientnet, "blocks.3.0.conv_pw", 1) == frozen_names(
        efficientnet, "blocks.2"
    )


@given(st.sampled_from(["none", "backbone", "blocks", "blocks.2", "bn1"]), st.integers(0, 9))
def test_thawing_more_never_freezes_more(part, thawed):
    network = EFFICIENTNET
    assert frozen_names(network, part, thawed + 1) <= frozen_names(network, part, thawed)


EFFICIENTNET = tiny("test_efficientnet")


def test_freezing_and_thawing_set_what_gets_a_gradient():
    network = tiny("test_resnet")
    frozen = frozen_names(network, "layer2")
    freeze(network, frozen)
    assert {n for n, p in network.named_parameters() if not p.requires_grad} == frozen
    freeze(network, NONE)
    assert all(p.requires_grad for p in network.parameters())


def test_without_frozen_parts_everything_is_in_training_mode(resnet):
    set_training_mode(resnet.eval(), NONE, frozen_norms=False)
    assert all(module.training for module in resnet.modules())


def test_a_wholly_frozen_backbone_behaves_as_in_use():
    network = tiny("test_efficientnet")
    network.backbone.drop_rate = 0.5
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    expected = network.eval().features(pixels)
    set_training_mode(network, backbone_names(network), frozen_norms=False)
    assert torch.equal(network.features(pixels), expected)
    assert network.training
    assert network.head.training


def test_frozen_norms_keep_their_statistics_while_the_rest_is_trained(resnet):
    set_training_mode(resnet, NONE, frozen_norms=True)
    norms = [m for m in resnet.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    resnet(torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8))
    assert norms
    assert all(torch.equal(n.running_mean, b) for n, b in zip(norms, before, strict=True))
    assert resnet.backbone.layer1[0].conv1.training


def test_norms_and_dropout_of_frozen_parts_rest_and_those_above_work(efficientnet):
    frozen = frozen_names(efficientnet, "blocks.1")
    set_training_mode(efficientnet, frozen, frozen_norms=False)
    training = in_training(efficientnet)
    assert not {name for name in training if re.match(r"backbone\.(bn1|blocks\.[01])\b", name)}
    assert {"backbone.blocks.2.0.bn1", "backbone.bn2", "backbone.blocks", "backbone"} <= training


def test_modes_follow_when_parts_are_thawed(efficientnet):
    set_training_mode(efficientnet, backbone_names(efficientnet), frozen_norms=False)
    set_training_mode(efficientnet, NONE, frozen_norms=False)
    assert all(module.training for module in efficientnet.modules())


def test_norms_without_parameters_are_trained_unless_norms_are_frozen():
    backbone = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8, affine=False))
    network = network_of(backbone)
    set_training_mode(network, NONE, frozen_norms=False)
    assert backbone[1].training
    set_training_mode(network, NONE, frozen_norms=True)
    assert not backbone[1].training
