"""Muon: momentum whose updates are made orthogonal, for weights that are matrices.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"
(https://kellerjordan.github.io/posts/muon/). torch's own Muon takes matrices only; this one takes
convolutions too, each filter bank as a matrix [out, in * height * width].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

# The quintic a x + b x^3 + c x^5 of the post: steep at zero, so few steps suffice, at the price
# that singular values end up near 1, not exactly at 1.
QUINTIC = (3.4445, -4.7750, 2.0315)
GRAM_STEPS = 5
SMALLEST = 1e-30  # avoids 0 / 0; gradients may be tiny, as only their direction matters


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, with decoupled weight decay.

    An update has the norm ``sqrt(out)``, whatever the matrix: tall ones, whose columns are made
    orthonormal, are scaled by ``sqrt(out / columns)``, as in the author's own version.

    Parameters
    ----------
    params : iterable of parameters or of groups
        Each of 2 or more dimensions, the first being the output.
    lr : float
        Learning rate.
    momentum : float
        Of the gradients; 0 for none.
    weight_decay : float
        Decoupled weight decay, as a factor of ``lr``.
    steps : int
        Newton-Schulz steps. Five make almost any update orthogonal; on CIFAR-10 three are enough
        (Jordan's airbench94_muon).
    normalise : bool
        Scale each filter bank to the norm ``sqrt(out)`` before a step, as airbench94_muon does:
        for networks trained from random weights whose norm layers cancel the scale.

    Raises
    ------
    ValueError
        A parameter is a vector, or a number is out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.02,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        steps: int = 5,
        normalise: bool = False,
    ) -> None:
        if lr < 0 or not 0 <= momentum < 1 or weight_decay < 0 or steps < 1:
            raise ValueError(
                f"Muon got lr {lr}, momentum {momentum}, weight_decay {weight_decay} and steps "
                f"{steps}; they must be 0 or more, momentum below 1, steps 1 or more."
            )
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "steps": steps,
            "normalise": normalise,
        }
        super().__init__(params, defaults)
        for parameter in (p for group in self.param_groups for p in group["params"]):
            if parameter.ndim < 2:
                raise ValueError(
                    f"Muon takes matrices and filters, not shape {list(parameter.shape)}; "
                    "train vectors with AdamW."
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update the parameters that have a gradient; return the closure's loss, if any."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        average = state["momentum"].mul_(group["momentum"]).add_(gradient)
        ahead = gradient.add(average, alpha=group["momentum"]).flatten(1)
        rows, columns = ahead.shape
        scale = max(1.0, rows / columns) ** 0.5
        if group["normalise"]:
            weight.mul_(rows**0.5 / weight.norm().clamp(min=SMALLEST))
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        update = orthogonalise(ahead, group["steps"]).view(weight.shape)
        weight.add_(update, alpha=-group["lr"] * scale)


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Bring the singular values of a matrix ``[R, C]`` near 1; return it in its own dtype.

    On CUDA the iteration runs in bfloat16, which is fast and precise enough; elsewhere in float32.
    """
    X = matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
    X = X.to(torch.bfloat16 if X.is_cuda else torch.float32)
    X = X / X.norm().clamp(min=SMALLEST)
    # The Gram form takes half the time on wide matrices, such as those of 3 x 3 filters. Rounding
    # errors of a Gram matrix grow twelvefold per step: too much for bfloat16 or many steps.
    by_gram = X.shape[1] > 2 * X.shape[0] and not X.is_cuda and steps <= GRAM_STEPS
    X = _newton_schulz_by_gram(X, steps) if by_gram else _newton_schulz(X, steps)
    return (X.mT if matrix.shape[0] > matrix.shape[1] else X).to(matrix.dtype).contiguous()


def _newton_schulz(X: Tensor, steps: int) -> Tensor:
    for _ in range(steps):
        X = _factor(X @ X.mT) @ X
    return X


def _newton_schulz_by_gram(X: Tensor, steps: int) -> Tensor:
    """Do the same on the small side: X is only multiplied by functions of its Gram matrix."""
    gram = X @ X.mT
    whole = factor = _factor(gram)
    for _ in range(steps - 1):
        gram = factor @ gram @ factor
        factor = _factor(gram)
        whole = factor @ whole
    return whole @ X


def _factor(gram: Tensor) -> Tensor:
    """Return ``a I + b G + c G^2``, by which one step of the quintic multiplies its matrix."""
    a, b, c = QUINTIC
    factor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal().add_(a)
    return factor
