"""State: everything that changes while a network is trained, and how to save and restore it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from ilk.errors import ModelError
from ilk.models.bundle import Bundle
from ilk.models.network import Network
from ilk.spec import Spec
from ilk.training.checkpoint import Snapshot
from ilk.training.history import Row
from ilk.training.scoring import Scores

Tensors = dict[str, Tensor]


@dataclass
class Best:
    """The best epoch so far: its scores, and the weights as they were then."""

    epoch: int
    scores: Scores
    weights: Tensors


@dataclass
class EpochSums:
    """Sums over the pictures of the epoch so far: losses, correct predictions, pictures."""

    loss: float = 0.0
    correct: int = 0
    pictures: int = 0

    def add(self, loss: float, correct: int, pictures: int) -> None:
        """Add the sums of one step."""
        self.loss += loss
        self.correct += correct
        self.pictures += pictures


@dataclass(eq=False)
class State:
    """How far a training has come.

    Attributes
    ----------
    spec : Spec
        Of the resulting model.
    network : Network
        On the training device.
    average : timm's ModelEmaV3 or None
        The moving average of the weights.
    scaler : GradScaler
        Scales the loss where gradients are fp16; else does nothing.
    epoch, step : int
        The next epoch and step in it, both from 0.
    micro_batches : int
        How many parts each batch is divided into, because it would not fit into memory.
    earlier_seconds : float
        Time spent before the training was last resumed, which was at ``started``.
    diverged_at : str or None
        The epoch and step in which the loss became NaN or infinite.
    """

    spec: Spec
    network: Network
    optimizers: list[torch.optim.Optimizer]
    average: Any
    scaler: Any
    total_steps: int
    steps_per_epoch: int
    micro_batches: int = 1
    epoch: int = 0
    step: int = 0
    earlier_seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)
    sums: EpochSums = field(default_factory=EpochSums)
    history: list[Row] = field(default_factory=list)
    best: Best | None = None
    diverged_at: str | None = None

    @property
    def lr(self) -> float:
        """The learning rate of the last step: the highest of all parameter groups."""
        return max(float(g["lr"]) for o in self.optimizers for g in o.param_groups)

    @property
    def steps_done(self) -> int:
        """Steps since the start."""
        return self.epoch * self.steps_per_epoch + self.step

    @property
    def seconds(self) -> float:
        """Time spent, including before the training was resumed."""
        return self.earlier_seconds + time.monotonic() - self.started

    @property
    def seconds_left(self) -> float:
        """The time still needed, at the pace so far."""
        return self.seconds * (self.total_steps / max(1, self.steps_done) - 1)

    @property
    def done(self) -> bool:
        """Whether all epochs have ended, each with its validation."""
        return self.epoch >= self.epochs

    @property
    def epochs(self) -> int:
        """The number of epochs; the last may be cut short."""
        return -(-self.total_steps // self.steps_per_epoch)

    @property
    def model(self) -> Network:
        """The network as it would be used: with averaged weights if there is an average."""
        return self.average.module if self.average is not None else self.network

    def weights(self) -> Tensors:
        """Return a copy of the weights of `model`, on the CPU."""
        return cpu_copies(self.model.state_dict())

    def bundle(self) -> Bundle:
        """Return the model of the best epoch, or the current one where epochs are not compared."""
        weights = self.best.weights if self.best else self.weights()
        return Bundle(self.spec, {name: value.numpy() for name, value in weights.items()})

    def snapshot(self) -> Snapshot:
        """Return a copy of everything, to be written while the training continues."""
        tensors = _prefixed("network", self.network.state_dict())
        if self.average is not None:
            tensors |= _prefixed("average", self.average.module.state_dict())
        for i, optimizer in enumerate(self.optimizers):
            for index, entries in optimizer.state_dict()["state"].items():
                kept = {k: v for k, v in entries.items() if v is not None}
                tensors |= _prefixed(f"optimizer.{i}.{index}", kept)
        best = self.best and {"epoch": self.best.epoch, "scores": asdict(self.best.scores)}
        facts = {
            "total_steps": self.total_steps,
            "steps_per_epoch": self.steps_per_epoch,
            "pieces": self.micro_batches,
            "epoch": self.epoch,
            "step": self.step,
            "steps_done": self.steps_done,
            "seconds": self.seconds,
            "rates": [[group["lr"] for group in o.param_groups] for o in self.optimizers],
            "running": asdict(self.sums),
            "history": [row.to_dict() for row in self.history],
            "best": best,
            "scaler": self.scaler.state_dict(),
        }
        weights = (
            _prefixed("best", self.best.weights) if self.best else {}
        )  # replaced, never changed
        return Snapshot(cpu_copies(tensors) | weights, facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot.

        Raises
        ------
        ModelError
            It belongs to another network.
        """
        tensors, facts = snapshot
        try:
            self.network.load_state_dict(_with_prefix("network", tensors))
            if self.average is not None:
                self.average.module.load_state_dict(_with_prefix("average", tensors))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ModelError(f"The checkpoint belongs to another network: {reason}") from None
        for i, optimizer in enumerate(self.optimizers):
            entries: dict[int, dict[str, Tensor]] = {}
            for name, value in _with_prefix(f"optimizer.{i}", tensors).items():
                index, key = name.split(".", 1)
                entries.setdefault(int(index), {})[key] = value
            groups = optimizer.state_dict()["param_groups"]
            for group, lr in zip(groups, facts["rates"][i], strict=True):
                group["lr"] = lr
            optimizer.load_state_dict({"state": entries, "param_groups": groups})
            _match_layout(optimizer)
        self.scaler.load_state_dict(facts["scaler"])
        self.total_steps, self.steps_per_epoch = facts["total_steps"], facts["steps_per_epoch"]
        self.epoch, self.step = facts["epoch"], facts["step"]
        self.micro_batches = facts["pieces"]
        self.earlier_seconds, self.started = facts["seconds"], time.monotonic()
        self.sums = EpochSums(**facts["running"])
        self.history = [Row.from_dict(row) for row in facts["history"]]
        if facts["best"]:
            scores = Scores(**facts["best"]["scores"])
            self.best = Best(facts["best"]["epoch"], scores, _with_prefix("best", tensors))


def cpu_copies(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return copies on the CPU, contiguous, no two of them sharing memory."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()
    }


def _match_layout(optimizer: torch.optim.Optimizer) -> None:
    """Give an optimizer's tensors the memory layout of their parameters.

    They had it when the training began, and kernels may round differently in another layout.
    """
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                entries[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _prefixed(prefix: str, tensors: Mapping[str, Any]) -> Tensors:
    return {f"{prefix}.{name}": torch.as_tensor(value) for name, value in tensors.items()}


def _with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
