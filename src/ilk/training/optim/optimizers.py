"""Optimizers: which one trains which parameter, at which learning rate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from ilk.errors import UsageError
from ilk.models.network import Network
from ilk.recipe import Recipe
from ilk.recipes import DEFAULT_LRS
from ilk.training.optim.layers import BACKBONE, HEAD, belongs, layer_groups, unknown_part
from ilk.training.optim.muon import Muon

BETAS_WITH_MUON = (0.9, 0.95)  # as in Jordan's post
MUON_STEPS = 3  # enough on CIFAR-10 (airbench94_muon)


class Kind(NamedTuple):
    """What the parameters of one group have in common."""

    part: str
    peak: float
    weight_decay: float


def make_optimizers(network: Network, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Return the optimizers of a recipe.

    SGD and AdamW train everything. Muon trains the filters and matrices of the backbone except
    its first layer; AdamW trains the rest, at the same ``lr`` times its ``rates``. Layer group k
    of n, the head being the last, gets ``layer_decay ** (n - 1 - k)`` of the rate (Clark et al.
    2020, arXiv 2003.10555, appendix A). Vectors, and what the backbone names in
    ``no_weight_decay``, do not decay unless ``decay_biases`` is set.

    Parameters with ``requires_grad`` off are left out, unless the recipe unfreezes them later.

    Returns
    -------
    list of torch.optim.Optimizer
        Each group has a ``name``, its current learning rate ``lr`` and its highest, ``peak``.

    Raises
    ------
    UsageError
        ``rates`` names an unknown part, or nothing is left to train.
    """
    peaks = _peaks(network, recipe)
    no_decay = _no_decay(network)
    for_muon = _hidden_weights(network) if recipe.optimizer == "muon" else frozenset()
    shares: dict[str, dict[Kind, list[nn.Parameter]]] = defaultdict(lambda: defaultdict(list))
    for name, parameter in network.named_parameters():
        if parameter.requires_grad or recipe.unfreeze_every is not None:
            part, peak = peaks[name]
            decays = recipe.decay_biases or name not in no_decay
            kind = Kind(part, peak, recipe.weight_decay if decays else 0.0)
            shares[_optimizer_of(name, for_muon, recipe)][kind].append(parameter)
    if not any(kind.peak for kinds in shares.values() for kind in kinds):
        raise UsageError(
            f"Nothing is left to train with freeze '{recipe.freeze}' and rates {recipe.rates}. "
            "Freeze less, or give a part a rate above 0."
        )
    return [_make(optimizer, _groups(kinds), recipe) for optimizer, kinds in shares.items()]


def set_learning_rates(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Set the learning rate of every group to a factor of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor


def _peaks(network: Network, recipe: Recipe) -> dict[str, tuple[str, float]]:
    """Return the name of each parameter's group, and its peak learning rate.

    Groups of one name have one rate, so that a plot of rates has one line per name.
    """
    highest = recipe.lr if recipe.lr is not None else DEFAULT_LRS[recipe.optimizer]
    groups = layer_groups(network)
    factors = _factors(network, recipe.rates)
    peaks = {}
    for k, names in enumerate(groups):
        depth = len(groups) - 1 - k
        for name in names:
            whole = "head" if name.startswith(HEAD) else "backbone"
            part, factor = factors.get(name, (whole, 1.0))
            if recipe.layer_decay < 1 and whole == "backbone":
                part = f"{part}, layer {k}"
            peaks[name] = (part, highest * recipe.layer_decay**depth * factor)
    return peaks


def _factors(network: Network, rates: dict[str, float]) -> dict[str, tuple[str, float]]:
    """Return the part and the factor of each parameter: those of the longest matching name."""
    names = [name for name, _ in network.named_parameters()]
    factors: dict[str, tuple[str, float]] = {}
    full = {_full_part(part, names): factor for part, factor in rates.items()}
    for part in sorted(full, key=len):
        factors |= {name: (part, full[part]) for name in names if belongs(name, part)}
    return factors


def _full_part(part: str, names: list[str]) -> str:
    """Return a part's full name; ``head`` is the network's head, not one of the backbone."""
    for candidate in (part, BACKBONE + part):
        if any(belongs(name, candidate) for name in names):
            return candidate
    raise unknown_part("--rates", part, [name.removeprefix(BACKBONE) for name in names], "backbone")


def _no_decay(network: Network) -> frozenset[str]:
    vectors = {name for name, parameter in network.named_parameters() if parameter.ndim <= 1}
    own = getattr(network.backbone, "no_weight_decay", set)
    return frozenset(vectors | {BACKBONE + name for name in own()})


def _hidden_weights(network: Network) -> frozenset[str]:
    """Return the filters and matrices of the backbone except the first, which sees pixels."""
    weights = [
        f"{BACKBONE}{path}.weight"
        for path, module in network.backbone.named_modules()
        if isinstance(module, _ConvNd | nn.Linear)
    ]
    return frozenset(weights[1:])


def _optimizer_of(name: str, for_muon: frozenset[str], recipe: Recipe) -> str:
    if recipe.optimizer != "muon":
        return recipe.optimizer
    return "muon" if name in for_muon else "adamw with muon"


def _groups(kinds: dict[Kind, list[nn.Parameter]]) -> list[dict[str, Any]]:
    return [
        {
            "params": parameters,
            "name": kind.part,
            "lr": kind.peak,
            "peak": kind.peak,
            "weight_decay": kind.weight_decay,
        }
        for kind, parameters in kinds.items()
    ]


def _make(optimizer: str, groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    match optimizer:
        case "sgd":
            nesterov = recipe.nesterov and recipe.momentum > 0
            return torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=nesterov)
        case "muon":
            # From scratch, norms cancel the scale of the filters; pretrained filters keep theirs.
            normalise = recipe.mode == "scratch"
            return Muon(groups, momentum=recipe.momentum, steps=MUON_STEPS, normalise=normalise)
        case "adamw with muon":
            return torch.optim.AdamW(groups, betas=BETAS_WITH_MUON)
        case _:
            return torch.optim.AdamW(groups)
