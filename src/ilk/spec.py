"""Spec: everything besides the weights that is needed to use a model, as one JSON record."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from ilk.errors import ModelError, UsageError

SPEC_VERSION = 1
SPLITS = ("train", "val", "test")

Resize = Literal["squash", "crop", "pad"]
Views = Literal["one", "mirror", "mirror-shift"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Channels = tuple[float, float, float]
Range = tuple[float, float]
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
ImageSize = Annotated[int, Field(ge=8, le=4096)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Conversion(_Record):
    """How what a file stores becomes 8-bit RGB, if it is no ordinary picture.

    Attributes
    ----------
    range : tuple of float or None
        Of pictures with more than 8 bits a channel, the values that become 0 and 255. None: 16-bit
        grey is scaled from 0 to 65535, and what does not fit is refused.
    channels : tuple of int or None
        Of files with several pages or channels, those that are used, counted from 0: one as grey or
        three as RGB. None: the first.
    """

    range: Range | None = None
    channels: tuple[Annotated[int, Field(ge=0, lt=10_000)], ...] | None = None

    @field_validator("range")
    @classmethod
    def _ascends(cls, ends: Range | None) -> Range | None:
        if ends is not None and not ends[0] < ends[1]:
            raise PydanticCustomError("range", "the first number must be below the second")
        return ends

    @field_validator("channels")
    @classmethod
    def _are_one_or_three(cls, channels: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if channels is not None and len(channels) not in {1, 3}:
            raise PydanticCustomError("channels", "give one channel, or three as RGB")
        return channels

    @property
    def key(self) -> str:
        """A name that is another for each conversion; empty of the default one."""
        parts = [f"range_{x!r}" for x in self.range or ()]
        return "-".join(parts + [f"channel_{x}" for x in self.channels or ()])


def flag_text(given: Any, separator: str) -> str:
    """Return a flag's text, of which Python callers give the numbers."""
    return separator.join(map(str, given)) if isinstance(given, (tuple, list)) else str(given)


def range_of(given: str | Sequence[float]) -> Range | None:
    """Return the range that ``LOW:HIGH`` gives; None of ``auto`` and ``full``.

    Raises
    ------
    UsageError
        It is none of these.
    """
    text = flag_text(given, ":")
    if text in {"auto", "full"}:
        return None
    found = re.fullmatch(rf"\s*({NUMBER})\s*:\s*({NUMBER})\s*", text)
    low, high = (float(found[1]), float(found[2])) if found else (0.0, 0.0)
    if not low < high or not math.isfinite(high - low):
        raise UsageError(
            f"--range {text}: give auto, full, or the values that become black and white, as in "
            "0:4095 or -1000:400."
        )
    return low, high


def channels_of(given: str | int | Sequence[int] | None) -> tuple[int, ...] | None:
    """Return the channels that ``2`` or ``0,1,2`` gives; None stays so.

    Raises
    ------
    UsageError
        They are not one or three whole numbers.
    """
    if given is None:
        return None
    text = flag_text(given, ",")
    if not re.fullmatch(r"\s*\d{1,4}\s*(,\s*\d{1,4}\s*,\s*\d{1,4}\s*)?", text):
        raise UsageError(
            f"--channels {text}: give one page or channel, counted from 0, or three as red, green "
            "and blue, as in 0,1,2."
        )
    return tuple(int(number) for number in text.split(","))


PLAIN = Conversion()


class Preprocess(_Record):
    """How a decoded picture becomes pixels ``uint8 [imgsz, imgsz, 3]``, sRGB."""

    imgsz: ImageSize
    resize: Resize = "squash"
    interpolation: Interpolation = "bicubic"
    conversion: Conversion = PLAIN


class Backbone(_Record):
    """Which network makes the features, and what it expects.

    ``mean`` and ``std`` are per RGB channel, for pixels scaled to 0..1.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_.]+$", max_length=200)
    features: int = Field(gt=0, description="Length D of the feature vector.")
    mean: Channels
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    weights: str = Field(default="", description="Where the pretrained weights came from.")


class Spread(_Record):
    """Mean and standard deviation of a score over held-out pictures."""

    mean: float
    std: PositiveFloat


class Novelty(_Record):
    """Parameters of the out-of-distribution detector: see `ilk.inference.novelty`.

    Pictures that score above ``threshold`` count as unknown.
    """

    neighbours: int = Field(gt=0, le=1000)
    distance: Spread
    entropy: Spread
    threshold: float


class Spec(_Record):
    """All that is needed to use a trained model besides its weights, in the file's metadata.

    Attributes
    ----------
    version : int
    backbone : Backbone
    preprocess : Preprocess
    classes : tuple of str
        In the order of the logits; empty for a bare backbone.
    views : {"one", "mirror", "mirror-shift"}
        What features are averaged over: the picture as it is, also its mirror image, or both also
        shifted by a pixel.
    temperature : float
        What logits are divided by before they become probabilities.
    thresholds : dict of str to float
        May have ``accept``: the lowest probability at which an answer is accepted.
    novelty : Novelty or None
        How pictures unlike the training data are detected.
    provenance : dict
        Data, recipe, accuracy and versions of the training.
    """

    version: int = SPEC_VERSION
    backbone: Backbone
    preprocess: Preprocess
    classes: tuple[str, ...] = ()
    views: Views = "one"
    temperature: float = Field(default=1.0, ge=0.01, le=100)
    thresholds: dict[str, float] = {}
    novelty: Novelty | None = None
    provenance: dict[str, Any] = {}

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) < len(classes):
            raise PydanticCustomError("classes", "two classes have the same name")
        return classes

    def to_json(self) -> str:
        """Return the record as one line of JSON, which early versions read if they can."""
        usual = self.preprocess.conversion == PLAIN
        return self.model_dump_json(exclude={"preprocess": {"conversion"}} if usual else None)

    @classmethod
    def from_json(cls, text: str | bytes, source: str) -> Spec:
        """Read a Spec that came from outside.

        Raises
        ------
        ModelError
            The text is not a Spec, or of a newer version. ``source`` names it in the message.
        """
        version = _VersionOnly.read(text, source)
        if version > SPEC_VERSION:
            raise ModelError(
                f"{source} has a Spec of version {version}; this ilk reads up to {SPEC_VERSION}. "
                "Upgrade ilk to use it."
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ModelError(
                f"{source} has a damaged Spec: {where}: {first['msg']}. Export or train it again."
            ) from None


class _VersionOnly(BaseModel):
    version: int

    @classmethod
    def read(cls, text: str | bytes, source: str) -> int:
        try:
            return cls.model_validate_json(text).version
        except ValidationError:
            raise ModelError(
                f"{source} has a Spec that is not ilk's JSON. Export or train it again."
            ) from None
