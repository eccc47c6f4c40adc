"""Depthwise: gradients of depthwise convolutions in float32, where bf16 is slow on a CPU.

oneDNN (torch 2.13) has no fast kernels for two gradients of depthwise convolutions in bf16: that of
the input at a stride of 2, and that of 5 x 5 filters. With AMX they took most of a step of
EfficientNet-Lite0, several times as long as in float32. Everything else stays in bf16. (Observed
with AMX only; a compiled network is left unchanged.)
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

FAST_KERNEL = 3


class FastDepthwise(TorchFunctionMode):
    """A context in which the slow gradients are computed in float32."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, or its replacement if it is such a convolution."""
        kwargs = kwargs or {}
        wanted = torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")
        if func is F.conv2d and wanted and not kwargs and not torch.compiler.is_compiling():
            x, weight, bias, *rest = args
            if len(rest) == 4 and _is_slow(weight, *rest):
                return _convolved(x, weight, bias, *rest)
        return func(*args, **kwargs)


def _is_slow(weight: Tensor, stride: Any, padding: Any, dilation: Any, groups: int) -> bool:
    depthwise = groups == len(weight) and groups > 1 and weight.shape[1] == 1
    plain = all(isinstance(given, tuple) for given in (stride, padding, dilation))
    return depthwise and plain and (max(stride) > 1 or max(weight.shape[2:]) > FAST_KERNEL)


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
    y: Tensor = _Depthwise.apply(  # type: ignore[no-untyped-call]
        x.bfloat16(), weight.bfloat16(), None if bias is None else bias.bfloat16(), *how
    )
    return y


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = how
        return F.conv2d(x, weight, bias, *how)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.how
        wanted = list(ctx.needs_input_grad[:3])
        sizes = [len(weight)] if wanted[2] else None
        of_x, of_weight, of_bias = torch.ops.aten.convolution_backward(
            gradient.float(), x.float(), weight.float(), sizes,
            stride, padding, dilation, False, [0, 0], groups, wanted,
        )  # fmt: skip
        return of_x, of_weight, of_bias, None, None, None, None
