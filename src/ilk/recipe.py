"""Recipe: how to train, as a typed record. Each field is a flag of ``ilk train``.

`ilk.recipes` fills it: from the shipped recipe of its mode, a YAML file, and flags.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ilk.spec import ImageSize, Resize, Views, channels_of, flag_text, range_of

Mode = Literal["probe", "finetune", "scratch", "guide"]
PROBE, SCRATCH = ("probe",), ("scratch",)
LOOP = ("finetune", "scratch", "guide")
PRETRAINED = ("finetune", "guide")
UNITS = {"h": 3600, "m": 60, "s": 1}
RENAMED = {"views": "tta_views"}  # names of early versions that are still accepted


def _loop(default: Any, description: str, *, modes: tuple[str, ...] = LOOP, **limits: Any) -> Any:
    """Declare a field that applies to some modes only."""
    extra: dict[str, Any] = {"modes": list(modes)}
    return Field(default, description=description, json_schema_extra=extra, **limits)


class Recipe(BaseModel):
    """How to train. A field that does not apply to the mode keeps its default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mode: Mode = Field(
        "probe",
        description="probe: fit a linear head on frozen features. finetune: then train all layers. "
        "scratch: train from random weights. guide: the usual tutorial's loop, as a baseline.",
    )
    model: str = Field(
        "tf_efficientnet_lite0", description="Backbone: any timm model; see 'ilk backbones'."
    )
    weights: Path | None = _loop(
        None,
        "What to start from: a model or run of ilk (its backbone, and the rows of its head for "
        "classes of the same name), or a file of a backbone's weights (.safetensors, .pth); "
        "default: the pretrained weights.",
        modes=PROBE + PRETRAINED,
    )
    imgsz: ImageSize | None = Field(
        None,
        description="Side of the square input in pixels; default: the backbone's own, "
        "or with scratch the most common size of the pictures.",
    )
    imgsz_from: ImageSize | None = _loop(
        None,
        "Start with this smaller side and grow to imgsz over the first two thirds of the steps.",
    )
    resize: Resize = Field(
        "squash", description="How pictures become square: stretched, cropped or padded."
    )

    epochs: int | None = _loop(None, "Passes over the training pictures.", gt=0)
    budget: str | None = _loop(
        None,
        "Time for the training loop, such as 90s, 10m or 1h30m, instead of epochs; the schedule "
        "adapts. Reading pictures, the probe and the final evaluation take extra time.",
    )
    patience: int | None = _loop(
        None, "Early stopping: stop after this many epochs without a better validation score.", gt=0
    )
    metric: Literal["auto", "accuracy", "macro_f1", "loss"] = _loop(
        "auto", "What selects the best epoch; auto: macro_f1 if the classes are imbalanced."
    )

    optimizer: Literal["sgd", "adamw", "muon"] = _loop(
        "sgd", "muon: Muon for the filters, AdamW for the rest."
    )
    lr: float | None = _loop(None, "Peak learning rate; see --lr-find.", gt=0)
    momentum: float = _loop(0.9, "Momentum of sgd and muon.", ge=0, lt=1)
    nesterov: bool = _loop(True, "Use Nesterov momentum with sgd.")
    weight_decay: float = _loop(0.0, "Weight decay; see --decay-biases.", ge=0)
    decay_biases: bool = _loop(False, "Apply weight decay to biases and norms too.")
    layer_decay: float = _loop(
        1.0,
        "Learning rate of each layer group, as a factor of the next one towards the head.",
        modes=PRETRAINED,
        gt=0,
        le=1,
    )
    rates: dict[str, float] = _loop(
        {}, "Learning-rate factors by part, such as --rates.head 10; * matches anything."
    )
    schedule: Literal["step", "cosine", "onecycle", "linear", "constant"] = _loop(
        "cosine", "Learning-rate schedule."
    )
    warmup: float = _loop(0.0, "Epochs of linear warm-up of the learning rate.", ge=0)
    step_every: int = _loop(10, "Epochs between the steps of --schedule step.", gt=0)
    step_factor: float = _loop(
        0.5, "Factor of the learning rate at each step of --schedule step.", gt=0, lt=1
    )
    clip: float | None = _loop(None, "Clip the gradients to this norm.", gt=0)
    accumulate: int = _loop(1, "Batches whose gradients are accumulated before each update.", gt=0)
    ema: float | None = _loop(
        None,
        "Decay of the exponential moving average of the weights, which becomes the model.",
        gt=0,
        lt=1,
    )

    freeze: str = _loop(
        "none", "Frozen layers: none, backbone, or all up to a named part.", modes=PRETRAINED
    )
    unfreeze_every: int | None = _loop(
        None, "Unfreeze one more layer group, from the top, every so many epochs.",
        modes=PRETRAINED, gt=0,
    )  # fmt: skip
    frozen_norms: bool = _loop(
        False, "Keep the pretrained statistics of batch norms.", modes=PRETRAINED
    )

    class_weights: Literal["none", "balanced"] = Field(
        "none",
        description="balanced: weight the loss so that rare classes count as much as common ones.",
    )
    sampling: Literal["natural", "balanced"] = _loop(
        "natural", "balanced: sample every class equally often."
    )
    regularisation: float | None = _loop(
        None, "L2 strength of the head; default: chosen by cross-validation on train.",
        modes=("probe", "finetune"), gt=0,
    )  # fmt: skip
    label_smoothing: float = _loop(
        0.0, "Share of each target that is spread over all classes.", ge=0, lt=1
    )
    smoothing_until: float | None = _loop(
        None, "Share of the steps over which label smoothing falls to 0; default: it is constant.",
        gt=0, le=1,
    )  # fmt: skip
    mixup: float = _loop(0.0, "Alpha of mixup; 0: off.", ge=0)
    cutmix: float = _loop(0.0, "Alpha of cutmix; 0: off.", ge=0)
    augment: Literal["none", "light", "brightness", "colour", "crops", "trivial"] = _loop(
        "light",
        "light: shifts. brightness: brightness only. colour: shifts, brightness, contrast and "
        "saturation. crops: random resized crops. trivial: TrivialAugment.",
    )
    strength: float = _loop(1.0, "Strength of the augmentation, as a factor.", ge=0, le=3)
    flip: float = _loop(0.5, "Probability of mirroring a picture.", ge=0, le=1)
    alternate: bool = _loop(False, "Mirror each picture in every other epoch instead of at random.")
    tta_views: Views = _loop(
        "one",
        "Test-time augmentation: the views of a picture that predictions average over; slower, "
        "slightly more accurate.",
    )

    val_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share held out for validation (to choose the best epoch, or between probe and "
        "finetune); if the data has splits but no val beside test, it is taken from train.",
    )
    test_share: float = Field(
        0.25, ge=0, lt=1, description="Share held out for testing if the data has no splits."
    )
    group_by: str | None = Field(
        None,
        min_length=1,
        description="Keep pictures of one patient, animal or session in one split: a column, "
        "folder, camera+day, or a regular expression such as '(P[0-9]+)_'; default: the table's "
        "column 'group', if it has one.",
    )
    columns: str | None = Field(
        None,
        description="What a table calls its columns, as in path=image,label=choice.",
    )
    merge_alike: bool | None = Field(
        None,
        description="Whether class names that hardly differ (case, spaces, accents, 0 and 0.0) are "
        "one class; default: stop and ask.",
    )
    not_copies: Path | None = Field(
        None,
        description="File of pictures that you have looked at and that are no copies of each "
        "other: one line per group, with their paths separated by commas.",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of the split and of all random numbers.")
    max_unreadable: float = Field(
        0.05, ge=0, le=1, description="Stop if more than this share of the files cannot be read."
    )
    range: str = Field(
        "auto",
        description="Of pictures with more than 8 bits a channel, the values that become black and "
        "white: auto measures them on the training pictures; full: 0 to 65535; or LOW:HIGH.",
    )
    channels: str | None = Field(
        None,
        description="Of TIFF and DICOM files with several pages or channels, the one to use, "
        "counted from 0, or three as RGB: 2 or 0,1,2. Default: the first.",
    )
    max_pixels: int | None = Field(
        None,
        gt=0,
        description="The most pixels of a picture; larger ones are not read. Default: 89,478,485; "
        "three times as many of a JPEG, which is decoded at a smaller size.",
    )
    allow_leakage: bool = Field(
        False, description="Train even if some pictures are in more than one split."
    )

    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps.")
    engine: Literal["auto", "openvino", "pytorch"] = _loop(
        "auto",
        "What runs the backbone; auto: OpenVINO on a CPU, else PyTorch.",
        modes=("probe", "finetune"),
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 if the device supports it, else fp32; fp16 needs a GPU."
    )
    compile: bool = _loop(False, "Compile the network (torch.compile).")
    batch: int = Field(32, gt=0, le=65536, description="Batch size, over all processes together.")
    workers: int | None = Field(
        None, gt=0, le=256, description="Decoding threads; default: one per core."
    )
    cache: Literal["auto", "memory", "disk", "none"] = _loop(
        "auto", "Where decoded pictures are cached; none: decode them again in each epoch."
    )
    checkpoint_every: int | None = _loop(
        None, "Epochs between checkpoints that are kept permanently.", gt=0
    )
    checkpoint_minutes: float = _loop(1.0, "Minutes between checkpoints to resume from.", gt=0)
    tensorboard: bool = _loop(False, "Write TensorBoard logs: scalars, histograms, pictures.")

    @model_validator(mode="before")
    @classmethod
    def _accept_old_names(cls, values: Any) -> Any:
        return with_new_names(values) if isinstance(values, dict) else values

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
            raise PydanticCustomError("device", "give auto, cpu, cuda, cuda:1 or mps")
        return device

    @field_validator("range", mode="before")
    @classmethod
    def _is_range(cls, given: Any) -> Any:
        range_of(text := flag_text(given, ":"))
        return text

    @field_validator("channels", mode="before")
    @classmethod
    def _are_channels(cls, given: Any) -> Any:
        channels_of(text := None if given is None else flag_text(given, ","))
        return text

    @field_validator("budget")
    @classmethod
    def _is_duration(cls, budget: str | None) -> str | None:
        if budget is not None and not seconds_of(budget):
            raise PydanticCustomError("budget", "give a duration such as 90s, 10m or 1h30m")
        return budget

    @field_validator("rates", mode="before")
    @classmethod
    def _by_full_names(cls, rates: Any) -> Any:
        """Join the names that the command line splits at dots: ``--rates.stage1.conv 2``."""
        return _joined(rates) if isinstance(rates, dict) else rates

    @field_validator("rates")
    @classmethod
    def _are_factors(cls, rates: dict[str, float]) -> dict[str, float]:
        if any(factor < 0 or not math.isfinite(factor) for factor in rates.values()):
            raise PydanticCustomError("rates", "give factors of 0 or more")
        return rates

    @property
    def uses_loop(self) -> bool:
        """Whether the mode trains by the loop, with epochs and checkpoints; the probe does not."""
        return self.mode in LOOP

    @property
    def budget_seconds(self) -> float | None:
        """The time budget in seconds; None if epochs are given."""
        return seconds_of(self.budget) if self.budget else None

    @classmethod
    def modes_of(cls, field: str) -> tuple[str, ...] | None:
        """Return the modes that a field applies to; None for all."""
        extra = cls.model_fields[field].json_schema_extra
        return tuple(extra["modes"]) if isinstance(extra, dict) else None  # type: ignore[arg-type]

    def applies(self, field: str) -> bool:
        """Return whether a field applies to this recipe's mode."""
        modes = self.modes_of(field)
        return modes is None or self.mode in modes

    def applying(self) -> dict[str, Any]:
        """Return the fields that apply, as JSON values."""
        values = self.model_dump(mode="json")
        return {field: value for field, value in values.items() if self.applies(field)}

    def to_yaml(self) -> str:
        """Return the complete recipe: every field that applies, including defaults."""
        import yaml

        return yaml.safe_dump(self.applying(), sort_keys=False, allow_unicode=True)


def with_new_names(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a recipe with fields of early versions renamed."""
    return {RENAMED.get(name, name): value for name, value in values.items()}


def _joined(nested: dict[Any, Any], before: str = "") -> dict[Any, Any]:
    """Return ``{"a.b": 1}`` for ``{"a": {"b": 1}}``."""
    flat: dict[Any, Any] = {}
    for name, value in nested.items():
        full = f"{before}{name}"
        flat |= _joined(value, f"{full}.") if isinstance(value, dict) else {full: value}
    return flat


def seconds_of(duration: str) -> float:
    """Convert ``1h30m``, ``10m`` or ``90s`` to seconds; 0 if it cannot be parsed."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", duration.strip())
    if not match:
        return 0.0
    return float(sum(int(n or 0) * UNITS[u] for n, u in zip(match.groups(), UNITS, strict=True)))
