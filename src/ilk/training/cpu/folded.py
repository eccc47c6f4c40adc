"""Folded: batch norms with frozen statistics become part of the convolutions before them.

Such a norm multiplies and shifts each channel by numbers that no picture changes, so the filters
can do that as well: the norm's own passes over all activations, forwards and backwards, fall away.
The filters are scaled anew in each step, as part of the graph: the gradients of the filters and of
the norm's weight and bias are those of the unfolded network, but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from ilk.models.network import Network

Pairs = Mapping[nn.Conv2d, _BatchNorm]
TOLERANCE = 1e-3  # of the largest feature, in float32


class FoldedNorms(TorchFunctionMode):
    """A context in which convolutions do the work of the norms that follow them."""

    def __init__(self, pairs: Pairs) -> None:
        super().__init__()
        self._norms: dict[int | None, _BatchNorm] = {
            id(conv.weight): norm for conv, norm in pairs.items()
        }
        self._means = {id(norm.running_mean) for norm in pairs.values()}

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, with scaled filters if it is such a convolution; pass such norms by."""
        second = id(args[1]) if len(args) > 1 else None
        if func is F.conv2d and len(args) > 2 and (norm := self._norms.get(second)):
            x, weight, _, *how = args
            scale, shift = _scale_and_shift(norm)
            return func(x, weight * scale[:, None, None, None], shift, *how, **(kwargs or {}))
        if func is F.batch_norm and second in self._means:
            return args[0]
        return func(*args, **(kwargs or {}))


def _scale_and_shift(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias


@torch.no_grad()
def foldable(network: Network, pixels: Tensor) -> Pairs:
    """Return the convolutions of a network that a norm in eval mode follows, with those norms.

    They are found by running the network. Should it not give the same features when folded, as
    where the output of a convolution goes elsewhere too, there are none.

    Parameters
    ----------
    network : Network
        In the modes of the training to come.
    pixels : uint8 tensor [N, H, W, 3]
        Some pictures, of which only differences matter.
    """
    fixed = {m for m in network.modules() if isinstance(m, _BatchNorm) and _is_fixed(m)}
    if not fixed:
        return {}
    pairs: dict[nn.Conv2d, _BatchNorm] = {}
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # keeps outputs alive, so that ids stay unique

    def remember(conv: nn.Module, _: Any, output: Tensor) -> None:
        made[id(output)] = (cast(nn.Conv2d, conv), output)

    def match(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        conv, _ = made.get(id(inputs[0]), (None, None))
        if conv is not None and conv.bias is None and norm in fixed:
            pairs[conv] = norm

    # TF32 alone would differ by the tolerance.
    with _in_eval_mode(network), torch.backends.cudnn.flags(allow_tf32=False):
        with ExitStack() as hooks:
            for module in network.modules():
                if isinstance(module, nn.Conv2d):
                    hooks.callback(module.register_forward_hook(remember).remove)
                elif isinstance(module, _BatchNorm):
                    hooks.callback(module.register_forward_pre_hook(match).remove)
            plain = network.features(pixels)
        with FoldedNorms(pairs):
            folded = network.features(pixels)
    same = (folded - plain).abs().max() <= TOLERANCE * plain.abs().max()
    return pairs if bool(same) else {}


def _is_fixed(norm: _BatchNorm) -> bool:
    return not norm.training and norm.running_mean is not None and norm.running_var is not None


@contextmanager
def _in_eval_mode(network: nn.Module) -> Iterator[None]:
    """Let nothing be drawn at random, and no statistics move."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
