"""Result: what every training yields, whatever the mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ilk.arrays import Floats
from ilk.data.catalog import Catalog, Picture
from ilk.models.bundle import Bundle
from ilk.training.scoring import Scores


@dataclass(frozen=True)
class Outputs:
    """A model's outputs for some pictures.

    Attributes
    ----------
    features : float32 array [N, D]
    logits : float32 array [N, K]
    """

    pictures: tuple[Picture, ...]
    features: Floats
    logits: Floats


@dataclass(frozen=True)
class HeadFacts:
    """How a head was solved: the L2 strength, the log loss by strength, and features computed."""

    regularisation: float
    cross_validation_log_loss: Mapping[str, float]
    features_computed: int


@dataclass(frozen=True)
class LoopFacts:
    """How the training loop went; ``diverged_at`` is the epoch and step, if it diverged."""

    epochs: int
    best_epoch: int | None
    best: Scores | None
    training_seconds: float
    diverged_at: str | None


@dataclass(frozen=True)
class Choice:
    """Which model fine-tuning kept, and why; ``probe`` is the score of the probe."""

    kept: Literal["probe", "finetune"]
    why: str
    probe: Scores | None


@dataclass(frozen=True)
class TrainingFacts:
    """How a training went.

    Attributes
    ----------
    engine : str
        What ran the network.
    seconds : float
        From the start to the trained model; of a resumed run, all sessions together.
    head : HeadFacts or None
        Of a probe, also of one that fine-tuning kept.
    loop : LoopFacts or None
        Of a training by the loop.
    choice : Choice or None
        Of fine-tuning.
    """

    engine: str
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    head: HeadFacts | None = None
    loop: LoopFacts | None = None
    choice: Choice | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the record that ``metrics.json`` holds as ``training``."""
        facts: dict[str, Any] = {"engine": self.engine}
        for part in (self.head, self.loop, self.choice):
            facts |= asdict(part) if part else {}
        if self.loop:
            facts["astray"] = facts.pop("diverged_at")  # the names that scripts know
        return facts | {"remarks": list(self.warnings), "seconds": self.seconds}


@dataclass(frozen=True)
class TrainingResult:
    """What a training yields.

    Attributes
    ----------
    bundle : Bundle
        The trained model.
    catalog : Catalog
        As given, without the pictures that could not be decoded.
    evaluated : Outputs
        For the pictures of the evaluation split, in the catalog's order.
    held_out : Outputs
        For pictures that the model did not learn from and that no score is reported on: for
        calibration and thresholds. May be empty.
    train_sample : Outputs
        For a sample of the training pictures.
    """

    bundle: Bundle
    catalog: Catalog
    evaluated: Outputs
    held_out: Outputs
    train_sample: Outputs
    facts: TrainingFacts
