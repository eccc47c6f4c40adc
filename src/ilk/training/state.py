"""State: everything that changes while a network is trained, and how to keep and restore it."""

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
class Running:
    """Sums over the steps of the epoch so far: loss times pictures, right answers, pictures."""

    loss: float = 0.0
    correct: int = 0
    pictures: int = 0

    def add(self, loss: float, correct: int, pictures: int) -> None:
        """Add one step's mean loss, right answers and pictures."""
        self.loss += loss * pictures
        self.correct += correct
        self.pictures += pictures


@dataclass(eq=False)
class State:
    """Where a training is.

    Attributes
    ----------
    spec : Spec
        Of the model that comes out.
    network : Network
        On the training device.
    optimizers : list of torch optimizers
    average : timm's ModelEmaV3 or None
        The moving average of the weights.
    scaler : GradScaler
        Scales the loss where gradients are fp16; else does nothing.
    total_steps, steps_per_epoch : int
        How long the training is.
    epoch, step : int
        The epoch, from 0, and the step in it that come next.
    pieces : int
        In how many parts a batch goes through the network, because it would not fit at once.
    earlier : float
        Seconds spent in earlier sittings; this one began at ``started``.
    running : Running
    history : list of Row
    best : Best or None
    astray : str
        Where the loss ceased to be finite, if it did.
    """

    spec: Spec
    network: Network
    optimizers: list[torch.optim.Optimizer]
    average: Any
    scaler: Any
    total_steps: int
    steps_per_epoch: int
    pieces: int = 1
    epoch: int = 0
    step: int = 0
    earlier: float = 0.0
    started: float = field(default_factory=time.monotonic)
    running: Running = field(default_factory=Running)
    history: list[Row] = field(default_factory=list)
    best: Best | None = None
    astray: str = ""

    @property
    def rate(self) -> float:
        """The learning rate of the last step: the highest of all parts."""
        return max(float(g["lr"]) for o in self.optimizers for g in o.param_groups)

    @property
    def steps_done(self) -> int:
        """Steps since the beginning."""
        return self.epoch * self.steps_per_epoch + self.step

    @property
    def seconds(self) -> float:
        """Time spent, earlier sittings included."""
        return self.earlier + time.monotonic() - self.started

    @property
    def seconds_left(self) -> float:
        """How long it will take from here, if it goes on as it went."""
        return self.seconds * (self.total_steps / max(1, self.steps_done) - 1)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do; an epoch ends with its validation."""
        return self.epoch >= self.epochs

    @property
    def epochs(self) -> int:
        """How many epochs there are; the last may be cut short."""
        return -(-self.total_steps // self.steps_per_epoch)

    @property
    def model(self) -> Network:
        """The network as it would be used: with averaged weights if they are averaged."""
        return self.average.module if self.average is not None else self.network

    def weights(self) -> Tensors:
        """Return a copy of the weights of `model`, on the CPU."""
        return copied(self.model.state_dict())

    def bundle(self) -> Bundle:
        """Return the model: the best epoch's where epochs were compared, else as it is now."""
        weights = self.best.weights if self.best else self.weights()
        return Bundle(self.spec, {name: value.numpy() for name, value in weights.items()})

    def snapshot(self) -> Snapshot:
        """Return a copy of everything, to be written while the training goes on."""
        tensors = _named("network", self.network.state_dict())
        if self.average is not None:
            tensors |= _named("average", self.average.module.state_dict())
        for i, optimizer in enumerate(self.optimizers):
            for index, entries in optimizer.state_dict()["state"].items():
                kept = {k: v for k, v in entries.items() if v is not None}
                tensors |= _named(f"optimizer.{i}.{index}", kept)
        best = self.best and {"epoch": self.best.epoch, "scores": asdict(self.best.scores)}
        facts = {
            "total_steps": self.total_steps,
            "steps_per_epoch": self.steps_per_epoch,
            "pieces": self.pieces,
            "epoch": self.epoch,
            "step": self.step,
            "steps_done": self.steps_done,
            "seconds": self.seconds,
            "rates": [[group["lr"] for group in o.param_groups] for o in self.optimizers],
            "running": asdict(self.running),
            "history": [row.to_dict() for row in self.history],
            "best": best,
            "scaler": self.scaler.state_dict(),
        }
        kept = _named("best", self.best.weights) if self.best else {}  # replaced, never changed
        return Snapshot(copied(tensors) | kept, facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Take up where a snapshot was taken.

        Raises
        ------
        ModelError
            It is of another network.
        """
        tensors, facts = snapshot
        try:
            self.network.load_state_dict(_under("network", tensors))
            if self.average is not None:
                self.average.module.load_state_dict(_under("average", tensors))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ModelError(f"The checkpoint is of another network: {reason}") from None
        for i, optimizer in enumerate(self.optimizers):
            entries: dict[int, dict[str, Tensor]] = {}
            for name, value in _under(f"optimizer.{i}", tensors).items():
                index, key = name.split(".", 1)
                entries.setdefault(int(index), {})[key] = value
            groups = optimizer.state_dict()["param_groups"]
            for group, rate in zip(groups, facts["rates"][i], strict=True):
                group["lr"] = rate
            optimizer.load_state_dict({"state": entries, "param_groups": groups})
            _lay_out(optimizer)
        self.scaler.load_state_dict(facts["scaler"])
        self.total_steps, self.steps_per_epoch = facts["total_steps"], facts["steps_per_epoch"]
        self.epoch, self.step, self.pieces = facts["epoch"], facts["step"], facts["pieces"]
        self.earlier, self.started = facts["seconds"], time.monotonic()
        self.running = Running(**facts["running"])
        self.history = [Row.from_dict(row) for row in facts["history"]]
        if facts["best"]:
            scores = Scores(**facts["best"]["scores"])
            self.best = Best(facts["best"]["epoch"], scores, _under("best", tensors))


def copied(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return copies on the CPU, contiguous and none sharing memory with another."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()
    }


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Lay what an optimizer keeps of a parameter out in memory as the parameter is.

    So it was when the training began, and kernels may round differently where layouts differ.
    """
    for parameter, kept in optimizer.state.items():
        for key, value in kept.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                kept[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _named(prefix: str, tensors: Mapping[str, Any]) -> Tensors:
    return {f"{prefix}.{name}": torch.as_tensor(value) for name, value in tensors.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
