from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ilk.errors import UsageError
from ilk.models.backbones import create, import_timm
from ilk.models.network import Network
from ilk.recipe import Recipe
from ilk.recipes import DEFAULT_LRS
from ilk.spec import Backbone
from ilk.training.optim.layers import freeze, frozen_names
from ilk.training.optim.muon import Muon
from ilk.training.optim.optimizers import make_optimizers, set_learning_rates

OPTIMIZERS = ["sgd", "adamw", "muon"]


def tiny(name="test_efficientnet"):
    torch.manual_seed(0)
    backbone = create(name)
    features = backbone.num_features
    spec = Backbone(name=name, features=features, mean=(0.5,) * 3, std=(0.25,) * 3)
    return Network(backbone, spec, nn.Linear(features, 3))


@pytest.fixture
def network():
    return tiny()


def recipe_of(**fields):
    return Recipe(mode="finetune", **fields)


def groups_by_name(network, optimizers):
    """Return {parameter name: its group}; every parameter is in one group at most."""
    names = {parameter: name for name, parameter in network.named_parameters()}
    pairs = [(names[p], g) for o in optimizers for g in o.param_groups for p in g["params"]]
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


def peaks_of(network, **fields):
    groups = groups_by_name(network, make_optimizers(network, recipe_of(**fields)))
    return {name: group["peak"] for name, group in groups.items()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_parameter_is_trained_at_the_peak_rate(network, optimizer):
    peaks = peaks_of(network, optimizer=optimizer, lr=0.25)
    assert set(peaks) == {name for name, _ in network.named_parameters()}
    assert set(peaks.values()) == {0.25}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_without_a_rate_each_optimizer_has_its_own(network, optimizer):
    assert set(peaks_of(network, optimizer=optimizer).values()) == {DEFAULT_LRS[optimizer]}


def test_sgd_has_nesterov_momentum_if_any(network):
    (sgd,) = make_optimizers(network, recipe_of(momentum=0.8))
    assert isinstance(sgd, torch.optim.SGD)
    assert {(g["momentum"], g["nesterov"]) for g in sgd.param_groups} == {(0.8, True)}
    (plain,) = make_optimizers(network, recipe_of(momentum=0))
    assert {(g["momentum"], g["nesterov"]) for g in plain.param_groups} == {(0, False)}


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest(network):
    muon, adamw = sorted(
        make_optimizers(network, recipe_of(optimizer="muon", momentum=0.6)),
        key=lambda o: isinstance(o, torch.optim.AdamW),
    )
    assert isinstance(muon, Muon)
    assert {g["momentum"] for g in muon.param_groups} == {0.6}
    shapes = {name: parameter.ndim for name, parameter in network.named_parameters()}
    for name in groups_by_name(network, [muon]):
        assert name.startswith("backbone.")
        assert shapes[name] == 4
    others = groups_by_name(network, [adamw])
    assert {n for n in others if shapes[n] > 1} == {"backbone.conv_stem.weight", "head.weight"}


def test_tokens_and_positions_are_no_matrices_for_muon():
    network = tiny("test_vit")
    optimizers = make_optimizers(network, recipe_of(optimizer="muon"))
    muon = next(o for o in optimizers if isinstance(o, Muon))
    names = set(groups_by_name(network, [muon]))
    assert "backbone.blocks.0.mlp.fc1.weight" in names
    assert names.isdisjoint(
        {"backbone.cls_token", "backbone.pos_embed", "backbone.patch_embed.proj.weight"}
    )


@pytest.mark.parametrize("mode, normalised", [("scratch", True), ("finetune", False)])
def test_muon_keeps_the_scale_of_pretrained_filters(network, mode, normalised):
    optimizers = make_optimizers(network, Recipe(mode=mode, optimizer="muon"))
    muon = next(o for o in optimizers if isinstance(o, Muon))
    assert {group["normalise"] for group in muon.param_groups} == {normalised}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_vectors_do_not_decay(network, optimizer):
    optimizers = make_optimizers(network, recipe_of(optimizer=optimizer, weight_decay=0.1))
    groups = groups_by_name(network, optimizers)
    for name, parameter in network.named_parameters():
        assert groups[name]["weight_decay"] == (0.1 if parameter.ndim > 1 else 0)


def test_what_the_backbone_spares_from_decay_is_spared():
    network = tiny("test_vit")
    optimizers = make_optimizers(network, recipe_of(optimizer="adamw", weight_decay=0.1))
    groups = groups_by_name(network, optimizers)
    assert groups["backbone.pos_embed"]["weight_decay"] == 0
    assert groups["backbone.blocks.0.mlp.fc1.weight"]["weight_decay"] == 0.1


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit"])
def test_layer_wise_rates_are_those_of_timm(name):
    published = create(name, classes=3)
    import_timm()
    from timm.optim import param_groups_layer_decay

    names = {parameter: n for n, parameter in published.named_parameters()}
    classifier = published.pretrained_cfg["classifier"] + "."
    expected = {
        "head." + names[p].removeprefix(classifier)
        if names[p].startswith(classifier)
        else "backbone." + names[p]: group["lr_scale"]
        for group in param_groups_layer_decay(published, layer_decay=0.7)
        for p in group["params"]
    }
    assert peaks_of(tiny(name), lr=1, layer_decay=0.7) == pytest.approx(expected)


def test_a_factor_applies_to_a_part(network):
    peaks = peaks_of(network, lr=1, rates={"head": 10, "blocks.2": 0.5})
    assert peaks["head.bias"] == 10
    assert {peak for name, peak in peaks.items() if ".blocks.2." in name} == {0.5}
    assert {p for n, p in peaks.items() if ".blocks.2." not in n and "head." not in n} == {1}


def test_the_longest_name_wins_with_or_without_its_beginning(network):
    rates = {"blocks.1": 3, "backbone": 0.1, "backbone.blocks": 2}
    for order in (rates, dict(reversed(rates.items()))):
        peaks = peaks_of(network, lr=1, rates=order)
        assert peaks["backbone.conv_stem.weight"] == pytest.approx(0.1)
        assert peaks["backbone.blocks.0.0.conv.weight"] == 2
        assert peaks["backbone.blocks.1.0.conv_exp.weight"] == 3
        assert peaks["head.weight"] == 1


def test_a_name_is_not_taken_for_a_longer_one(network):
    """``bn1`` is no prefix of ``bn10``, nor ``conv`` of ``conv_stem``."""
    with pytest.raises(UsageError, match="no part 'conv'"):
        make_optimizers(network, recipe_of(rates={"conv": 2}))


def test_head_means_the_head_even_if_the_backbone_has_one_too():
    peaks = peaks_of(tiny("test_convnext"), lr=1, rates={"head": 10})
    assert peaks["head.weight"] == 10
    assert peaks["backbone.head.norm.weight"] == 1


def test_factors_multiply_layer_wise_rates(network):
    plain = peaks_of(network, lr=1, layer_decay=0.5)
    both = peaks_of(network, lr=1, layer_decay=0.5, rates={"blocks": 3})
    name = "backbone.blocks.1.0.conv_exp.weight"
    assert both[name] == pytest.approx(3 * plain[name])


def test_an_unknown_part_is_refused_with_those_there_are(network):
    with pytest.raises(UsageError, match=r"rates.*'haed'.*Similar: .*head.*backbone.*conv_stem"):
        make_optimizers(network, recipe_of(rates={"haed": 10}))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_groups_of_one_name_have_one_rate(network, optimizer):
    rates = {"head": 5, "blocks.1": 2}
    for fields in ({}, {"layer_decay": 0.7}, {"rates": rates, "layer_decay": 0.7}):
        optimizers = make_optimizers(network, recipe_of(optimizer=optimizer, lr=1, **fields))
        pairs = {(g["name"], g["peak"]) for o in optimizers for g in o.param_groups}
        assert len(pairs) == len({name for name, _ in pairs})
        assert "head" in dict(pairs)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_frozen_parameters_are_left_out(network, optimizer):
    frozen = frozen_names(network, "blocks.2")
    freeze(network, frozen)
    peaks = peaks_of(network, optimizer=optimizer, freeze="blocks.2")
    assert set(peaks) == {name for name, _ in network.named_parameters()} - frozen


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_is_thawed_later_is_trained_from_then_on(network, optimizer):
    fields = {"optimizer": optimizer, "lr": 0.1, "freeze": "backbone", "unfreeze_every": 1}
    freeze(network, frozen_names(network, "backbone"))
    optimizers = make_optimizers(network, recipe_of(**fields))
    stem, top = network.backbone.conv_stem.weight, network.backbone.conv_head.weight
    stem_before, top_before = stem.detach().clone(), top.detach().clone()
    for thawed in (0, 1):
        freeze(network, frozen_names(network, "backbone", thawed))
        _train(network, optimizers)
        assert torch.equal(top, top_before) == (thawed == 0)
        assert torch.equal(stem, stem_before)


def test_a_wholly_frozen_backbone_leaves_nothing_for_muon(network):
    freeze(network, frozen_names(network, "backbone"))
    (adamw,) = make_optimizers(network, recipe_of(optimizer="muon", freeze="backbone"))
    assert isinstance(adamw, torch.optim.AdamW)


def test_nothing_to_train_is_refused(network):
    freeze(network, frozen_names(network, "backbone"))
    with pytest.raises(UsageError, match=r"Nothing is left to train.*'backbone'.*'head': 0"):
        make_optimizers(network, recipe_of(freeze="backbone", rates={"head": 0}))


def test_a_part_with_a_factor_of_zero_stays_as_it_is(network):
    optimizers = make_optimizers(network, recipe_of(optimizer="sgd", lr=0.1, rates={"blocks": 0}))
    before = copy.deepcopy(network.state_dict())
    _train(network, optimizers)
    changed = {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}
    assert "backbone.conv_stem.weight" in changed
    assert not {name for name in changed if ".blocks." in name}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_rates_are_set_as_a_factor_of_each_groups_peak(network, optimizer):
    optimizers = make_optimizers(
        network, recipe_of(optimizer=optimizer, lr=0.1, layer_decay=0.5, rates={"head": 10})
    )
    groups = [group for o in optimizers for group in o.param_groups]
    assert all(group["lr"] == group["peak"] for group in groups)
    for factor in (0.25, 0.5):
        set_learning_rates(optimizers, factor)
        assert all(group["lr"] == factor * group["peak"] for group in groups)
    assert max(group["peak"] for group in groups) == pytest.approx(1)


def _train(network, optimizers, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (4, 32, 32, 3), generator=generator).float()
    network.train()
    _, logits = network(pixels)
    loss = nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0]))
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_with_the_default_rate_lowers_the_loss(network, optimizer):
    optimizers = make_optimizers(network, recipe_of(optimizer=optimizer))
    losses = [_train(network, optimizers) for _ in range(10)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_bit_identically_from_kept_states(network, optimizer):
    recipe = recipe_of(optimizer=optimizer, weight_decay=0.01, layer_decay=0.8)
    optimizers = make_optimizers(network, recipe)
    _train(network, optimizers)
    again = tiny()
    again.load_state_dict(copy.deepcopy(network.state_dict()))
    resumed = make_optimizers(again, recipe)
    for new, old in zip(resumed, optimizers, strict=True):
        new.load_state_dict(copy.deepcopy(old.state_dict()))
    _train(network, optimizers, seed=1)
    _train(again, resumed, seed=1)
    for mine, other in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, other)
