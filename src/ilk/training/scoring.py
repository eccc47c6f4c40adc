"""Scoring: how good a network is on the pictures that a training chooses by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ilk.arrays import Floats, Indices, Targets
from ilk.models.network import Network
from ilk.training.cpu.precision import Precision
from ilk.training.distributed import ALONE, World
from ilk.training.pixels import PixelSource

Logical = NDArray[np.bool_]
FEW_VAL = 30  # pictures to choose by: of fewer, one more or less named rightly decides
UNEQUAL = 1.5  # the largest class over the smallest, from which classes count as unequal


@dataclass(frozen=True)
class Scores:
    """Scores on n pictures; loss is the mean cross-entropy in nats."""

    loss: float
    accuracy: float
    macro_f1: float
    n: int

    def better_than(self, other: Scores, metric: str) -> bool:
        """Compare by a metric; where it is equal, by loss."""
        return self._key(metric) > other._key(metric)

    def told(self, metric: str) -> str:
        """Return a metric with its name, as people write it."""
        name = {"macro_f1": "macro F1", "loss": "log loss"}.get(metric, metric)
        return f"{name} {self.value(metric)}"

    def value(self, metric: str) -> str:
        """Return a metric as people write it: a share in percent."""
        found = float(getattr(self, metric))
        return f"{found:.4f}" if metric == "loss" else f"{100 * found:.2f} %"

    def _key(self, metric: str) -> tuple[float, float]:
        first = -self.loss if metric == "loss" else getattr(self, metric)
        return float(first), -self.loss


def chosen_metric(metric: str, targets: Targets) -> str:
    """Decide ``auto``: macro_f1 where the classes are unequal, else accuracy."""
    if metric != "auto":
        return metric
    counts = np.bincount(targets)
    return "macro_f1" if counts.max() > UNEQUAL * max(1, counts.min()) else "accuracy"


def scores_of(logits: Floats, targets: Targets) -> Scores:
    """Score logits ``float32 [N, K]`` against classes ``int64 [N]``."""
    from sklearn.metrics import f1_score

    with np.errstate(invalid="ignore"):  # of a training that went astray: the loss tells
        shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    predicted = logits.argmax(axis=1)
    return Scores(
        loss=float(-log_probabilities[np.arange(len(targets)), targets].mean()),
        accuracy=float((predicted == targets).mean()),
        # Over the classes that occur, as the evaluation has it.
        macro_f1=float(
            f1_score(
                targets, predicted, labels=np.unique(targets), average="macro", zero_division=0
            )
        ),
        n=len(targets),
    )


@torch.inference_mode()
def outputs_of(
    network: Network,
    source: PixelSource,
    rows: Indices,
    *,
    precision: Precision,
    batch: int,
    world: World = ALONE,
    features: bool = True,
) -> tuple[Floats, Floats, Logical]:
    """Run a network with a head in eval mode over pictures; several processes share them out.

    Returns
    -------
    features : float32 array [N, D]
        ``[N, 0]`` if nobody wants them.
    logits : float32 array [N, K]
        Both in the order of ``rows``; zeros where a picture could not be decoded.
    good : bool array [N]
        Which pictures could be decoded.
    """
    device = precision.device
    assert network.head is not None
    world.align_buffers(network)
    network.eval()
    place = {int(row): i for i, row in enumerate(rows)}
    classes, width = network.head.weight.shape
    width = width if features else 0
    seen = torch.zeros(len(rows), width, device=device)
    logits = torch.zeros(len(rows), classes, device=device)
    good = torch.zeros(len(rows), device=device)
    mine: Any = world.part(rows)
    lots = [mine[i : i + batch] for i in range(0, len(mine), batch)]
    for pixels, read in source.batches(lots):
        if not len(read):
            continue
        at = torch.tensor([place[int(row)] for row in read], device=device)
        with precision.autocast():
            some, part = network(precision.to_device(pixels))
        seen[at], logits[at], good[at] = some[:, :width].float(), part.float(), 1
    seen, logits, good = (world.summed(part) for part in (seen, logits, good))
    return seen.cpu().numpy(), logits.cpu().numpy(), good.cpu().numpy() > 0
