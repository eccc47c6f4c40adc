"""Folded: batch norms with frozen statistics become part of the convolutions before them.

Such a norm scales and shifts each channel by constants, which the filters can do as well: this
saves the norm's own passes over all activations, forwards and backwards. The filters are rescaled
in each step, as part of the graph: the gradients of the filters and of the norm's weight and bias
are those of the unfolded network, up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from ilk.models.network import Network
from ilk.training.optim.layers import eval_mode

Pairs = Mapping[nn.Conv2d, _BatchNorm]
TOLERANCE = 1e-3  # of the largest feature, in float32


class FoldedNorms(TorchFunctionMode):
    """A context in which convolutions also apply the norms that follow them."""

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
        """Call ``func``, with scaled filters if it is such a convolution; skip such norms."""
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

    They are found by running the network. If it does not give the same features when folded, for
    example because a convolution's output is used elsewhere too, none are returned.

    Parameters
    ----------
    network : Network
        In the train and eval modes of the coming training.
    pixels : uint8 tensor [N, H, W, 3]
        Any pictures; only differences matter.
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
    with eval_mode(network), torch.backends.cudnn.flags(allow_tf32=False):
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
