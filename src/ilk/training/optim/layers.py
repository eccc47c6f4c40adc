"""Layers: the order of a network's parts from input to head, and which of them are trained."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ilk.errors import UsageError
from ilk.models.backbones import import_timm
from ilk.models.network import Network
from ilk.text import join_limited

BACKBONE, HEAD = "backbone.", "head."


def layer_groups(network: Network) -> list[list[str]]:
    """Return the names of the parameters in groups, from the input to the head.

    The groups are timm's (``group_matcher``), as its layer-wise rates use them; for models that
    have none, the top-level children of the backbone. The head is the last group.
    """
    backbone = network.backbone
    matcher = getattr(backbone, "group_matcher", None)
    groups: dict[object, list[str]] = {}
    if matcher is not None:
        timm = import_timm()
        groups = timm.models.group_parameters(backbone, matcher(coarse=False))
    else:
        for name, _ in backbone.named_parameters():
            groups.setdefault(name.split(".")[0], []).append(name)
    ordered = [[BACKBONE + name for name in names] for names in groups.values()]
    head = [name for name, _ in network.named_parameters() if name.startswith(HEAD)]
    return [*ordered, head] if head else ordered


def frozen_names(network: Network, freeze: str, unfrozen: int = 0) -> frozenset[str]:
    """Return the names of the parameters that are not trained.

    Parameters
    ----------
    freeze : str
        ``none``; ``backbone``: all but the head; or a part of the backbone, as in its
        ``named_modules``: everything from the input up to and including that part.
    unfrozen : int
        How many layer groups are unfrozen again, from the top (gradual unfreezing, Howard and
        Ruder 2018, arXiv 1801.06146, section 3.3).

    Raises
    ------
    UsageError
        The backbone has no such part, or it has no parameters.
    """
    frozen = set(_up_to(network, freeze))
    groups = [names for names in layer_groups(network) if not frozen.isdisjoint(names)]
    for names in groups[max(0, len(groups) - unfrozen) :]:
        frozen.difference_update(names)
    return frozenset(frozen)


def _up_to(network: Network, freeze: str) -> list[str]:
    names = [name for name, _ in network.backbone.named_parameters()]
    if freeze == "none":
        return []
    last = len(names) - 1
    if freeze != "backbone":
        part = freeze.removeprefix(BACKBONE)
        inside = [i for i, name in enumerate(names) if belongs(name, part)]
        if not inside:
            raise unknown_part("--freeze", freeze, names, "none, backbone")
        last = inside[-1]
    return [BACKBONE + name for name in names[: last + 1]]


def freeze(network: Network, names: Collection[str]) -> None:
    """Train all parameters except those named.

    What must never be trained, such as a whitening layer, belongs in a buffer.
    """
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in names)


def set_training_mode(network: Network, frozen: frozenset[str], frozen_norms: bool) -> None:
    """Put a network into training mode, except for its frozen parts.

    Modules whose parameters are all frozen stay in eval mode: their batch norms keep their
    statistics, and their dropout is off. With ``frozen_norms``, so do all batch norms.
    """
    network.train()
    for path, module in network.named_modules():
        start = f"{path}." if path else ""
        own = [start + name for name, _ in module.named_parameters()]
        all_frozen = bool(own) and frozen.issuperset(own)
        if all_frozen or (frozen_norms and isinstance(module, _BatchNorm)):
            module.eval()


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Put a network into eval mode, without dropout and updates of batch norms, for a while."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def belongs(name: str, part: str) -> bool:
    """Return whether a parameter belongs to a part, by dotted names; ``*`` matches anything."""
    return fnmatchcase(name, part) or fnmatchcase(name, f"{part}.*")


def unknown_part(flag: str, part: str, names: Iterable[str], others: str = "") -> UsageError:
    """Return the error for a part that no parameter belongs to.

    Parameters
    ----------
    flag : str
        The flag that named the part.
    names : iterable of str
        The parameters' names, without a leading ``backbone.``.
    others : str
        Other values that the flag takes.
    """
    paths = [name.split(".") for name in names]
    top = dict.fromkeys(path[0] for path in paths)
    every = dict.fromkeys(".".join(path[:i]) for path in paths for i in range(1, len(path)))
    near = difflib.get_close_matches(part.removeprefix(BACKBONE), every, n=3)
    hint = f" Similar: {', '.join(near)}." if near else ""
    allowed = f"{others}, or one of the parts" if others else "one of the parts"
    return UsageError(
        f"{flag}: the network has no part '{part}' with parameters.{hint} "
        f"Give {allowed} {join_limited(top, 20)}; nested parts are named with dots."
    )
