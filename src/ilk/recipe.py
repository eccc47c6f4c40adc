"""Recipe: how to train, as a typed record. Each field is a flag of ``ilk train``.

`ilk.recipes` fills it: from the shipped recipe of its mode, a YAML file, and flags.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from ilk.spec import ImageSize, Resize, Views

Mode = Literal["probe", "finetune", "scratch", "guide"]
PROBE, SCRATCH = ("probe",), ("scratch",)
LOOP = ("finetune", "scratch", "guide")
PRETRAINED = ("finetune", "guide")
UNITS = {"h": 3600, "m": 60, "s": 1}


def _loop(default: Any, description: str, *, modes: tuple[str, ...] = LOOP, **limits: Any) -> Any:
    """Declare a field that applies to some modes only."""
    extra: dict[str, Any] = {"modes": list(modes)}
    return Field(default, description=description, json_schema_extra=extra, **limits)


class Recipe(BaseModel):
    """How to train. A field that does not apply to the mode keeps its default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mode: Mode = Field(
        "probe",
        description="probe: solve a head on frozen features. finetune: then train all layers. "
        "scratch: train from random weights. guide: the tutorial's loop, as a baseline.",
    )
    model: str = Field(
        "tf_efficientnet_lite0", description="Backbone: any timm model; see 'ilk backbones'."
    )
    weights: Path | None = _loop(
        None,
        "File with the backbone's weights (.safetensors, .pth); else found.",
        modes=PROBE + PRETRAINED,
    )
    imgsz: ImageSize | None = Field(
        None,
        description="Side of the square input in pixels; default: the backbone's own, "
        "or with scratch that of most pictures.",
    )
    imgsz_from: ImageSize | None = _loop(
        None, "Begin with this smaller side and grow to imgsz over the first two thirds."
    )
    resize: Resize = Field(
        "squash", description="How a picture becomes square: whole but stretched, cut, or padded."
    )

    epochs: int | None = _loop(None, "Times to go through the training pictures.", gt=0)
    budget: str | None = _loop(
        None,
        "Time for the training loop, as 90s, 10m or 1h30m, instead of epochs; the schedule fits. "
        "Reading pictures, the probe and the final scores come on top.",
    )
    patience: int | None = _loop(
        None, "Stop after this many epochs without a better val score.", gt=0
    )
    metric: Literal["auto", "accuracy", "macro_f1", "loss"] = _loop(
        "auto", "What the best epoch is chosen by; auto: macro_f1 where classes are unequal."
    )

    optimizer: Literal["sgd", "adamw", "muon"] = _loop(
        "sgd", "muon: Muon for the filters, AdamW for the rest."
    )
    lr: float | None = _loop(None, "Peak learning rate; see --lr-find.", gt=0)
    momentum: float = _loop(0.9, "Of sgd and muon.", ge=0, lt=1)
    nesterov: bool = _loop(True, "Whether the momentum of sgd is Nesterov's.")
    weight_decay: float = _loop(0.0, "Weight decay; see --decay-biases.", ge=0)
    decay_biases: bool = _loop(False, "Let biases and norms decay too.")
    layer_decay: float = _loop(
        1.0,
        "Rate of each layer group as a factor of the one above it.",
        modes=PRETRAINED,
        gt=0,
        le=1,
    )
    rates: dict[str, float] = _loop(
        {}, "Factors of the rate by part, as --rates.head 10; * stands for anything."
    )
    schedule: Literal["step", "cosine", "onecycle", "linear", "constant"] = _loop(
        "cosine", "How the rate falls."
    )
    warmup: float = _loop(0.0, "Epochs over which the rate rises at first.", ge=0)
    step_every: int = _loop(10, "Epochs between the steps of --schedule step.", gt=0)
    step_factor: float = _loop(0.5, "What a step multiplies the rate by.", gt=0, lt=1)
    clip: float | None = _loop(None, "Largest norm that the gradients may have.", gt=0)
    accumulate: int = _loop(1, "Batches whose gradients are added up before a step.", gt=0)
    ema: float | None = _loop(
        None, "Decay of the moving average of the weights, which is then the model.", gt=0, lt=1
    )

    freeze: str = _loop(
        "none",
        "Parts that are not trained: none, backbone, or all up to a named part.",
        modes=PRETRAINED,
    )
    unfreeze_every: int | None = _loop(
        None, "Thaw one more frozen part, from the top, every so many epochs.",
        modes=PRETRAINED, gt=0,
    )  # fmt: skip
    frozen_norms: bool = _loop(
        False, "Keep the statistics of batch norms as pretrained.", modes=PRETRAINED
    )

    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: rare classes weigh as much as common ones."
    )
    sampling: Literal["natural", "balanced"] = _loop(
        "natural", "balanced: draw every class equally often."
    )
    regularisation: float | None = _loop(
        None, "L2 strength of the head; default: by cross-validation on train.",
        modes=("probe", "finetune"), gt=0,
    )  # fmt: skip
    label_smoothing: float = _loop(0.0, "Share of each target spread over all classes.", ge=0, lt=1)
    smoothing_until: float | None = _loop(
        None, "Share of the steps over which label smoothing fades to nothing; default: it stays.",
        gt=0, le=1,
    )  # fmt: skip
    mixup: float = _loop(0.0, "Alpha of mixup; 0: off.", ge=0)
    cutmix: float = _loop(0.0, "Alpha of cutmix; 0: off.", ge=0)
    augment: Literal["none", "light", "brightness", "colour", "crops", "trivial"] = _loop(
        "light",
        "light: shifts. brightness: that alone. colour: light, brightness, contrast, saturation. "
        "crops: random resized crops. trivial: TrivialAugment.",
    )
    strength: float = _loop(1.0, "Factor of how far an augmentation goes.", ge=0, le=3)
    flip: float = _loop(0.5, "Share of pictures that are mirrored.", ge=0, le=1)
    alternate: bool = _loop(
        False, "Mirror each picture in every other epoch, instead of at random."
    )
    views: Views = _loop(
        "one", "What the model averages over when it predicts; slower, a little better."
    )

    val_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share held out to choose by (best epoch, probe or finetune), as val or, where "
        "the data has splits of its own but no val beside test, from train.",
    )
    test_share: float = Field(
        0.25, ge=0, lt=1, description="Share held out as test where the data has no splits."
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="Seed of the split and of all that is drawn at random."
    )
    max_unreadable: float = Field(
        0.05, ge=0, le=1, description="Stop if more than this share of files cannot be read."
    )
    allow_leakage: bool = Field(
        False, description="Train although pictures lie in more than one split."
    )

    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps.")
    engine: Literal["auto", "openvino", "pytorch"] = _loop(
        "auto",
        "What runs the backbone; auto: OpenVINO on a CPU, else PyTorch.",
        modes=("probe", "finetune"),
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 where the processor has it; fp16 trains on a GPU only."
    )
    compile: bool = _loop(False, "Compile the network (torch.compile).")
    batch: int = Field(32, gt=0, le=65536, description="Pictures run through the network at once.")
    workers: int | None = Field(
        None, gt=0, le=256, description="Threads that decode; default: one a core."
    )
    cache: Literal["auto", "memory", "disk", "none"] = _loop(
        "auto", "Where decoded pictures are kept; none: decoded anew in each epoch."
    )
    checkpoint_every: int | None = _loop(
        None, "Epochs between checkpoints that are kept for good.", gt=0
    )
    checkpoint_minutes: float = _loop(1.0, "Minutes between checkpoints to resume from.", gt=0)
    tensorboard: bool = _loop(False, "Write tensorboard/: scalars, histograms, pictures.")

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
            raise PydanticCustomError("device", "give auto, cpu, cuda, cuda:1 or mps")
        return device

    @field_validator("budget")
    @classmethod
    def _is_duration(cls, budget: str | None) -> str | None:
        if budget is not None and not seconds_of(budget):
            raise PydanticCustomError("budget", "give a time such as 90s, 10m or 1h30m")
        return budget

    @field_validator("rates", mode="before")
    @classmethod
    def _by_full_names(cls, rates: Any) -> Any:
        """Put names together again that the command line takes apart: ``--rates.stage1.conv 2``."""
        return _joined(rates) if isinstance(rates, dict) else rates

    @field_validator("rates")
    @classmethod
    def _are_factors(cls, rates: dict[str, float]) -> dict[str, float]:
        if any(factor < 0 or not math.isfinite(factor) for factor in rates.values()):
            raise PydanticCustomError("rates", "give factors of 0 or more")
        return rates

    @property
    def budget_seconds(self) -> float | None:
        """The time to train in, in seconds; None if epochs are given."""
        return seconds_of(self.budget) if self.budget else None

    @classmethod
    def modes_of(cls, field: str) -> tuple[str, ...] | None:
        """Return the modes that a field applies to; None if to all."""
        extra = cls.model_fields[field].json_schema_extra
        return tuple(extra["modes"]) if isinstance(extra, dict) else None  # type: ignore[arg-type]

    def applies(self, field: str) -> bool:
        """Say whether a field applies to this recipe's mode."""
        modes = self.modes_of(field)
        return modes is None or self.mode in modes

    def applying(self) -> dict[str, Any]:
        """Return the fields that apply, as JSON has them."""
        values = self.model_dump(mode="json")
        return {field: value for field, value in values.items() if self.applies(field)}

    def to_yaml(self) -> str:
        """Return exactly what ran: every field that applies, its default spelled out."""
        import yaml

        return yaml.safe_dump(self.applying(), sort_keys=False, allow_unicode=True)


def _joined(nested: dict[Any, Any], before: str = "") -> dict[Any, Any]:
    """Return ``{"a.b": 1}`` for ``{"a": {"b": 1}}``."""
    flat: dict[Any, Any] = {}
    for name, value in nested.items():
        full = f"{before}{name}"
        flat |= _joined(value, f"{full}.") if isinstance(value, dict) else {full: value}
    return flat


def seconds_of(duration: str) -> float:
    """Turn ``1h30m``, ``10m`` or ``90s`` into seconds; 0 if it is none of the kind."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", duration.strip())
    if not match:
        return 0.0
    return float(sum(int(n or 0) * UNITS[u] for n, u in zip(match.groups(), UNITS, strict=True)))
