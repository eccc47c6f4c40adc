"""Spec: everything besides the weights that is needed to use a model, as one JSON record."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from ilk.errors import ModelError

SPEC_VERSION = 1
SPLITS = ("train", "val", "test")

Resize = Literal["squash", "crop", "pad"]
Views = Literal["one", "mirror", "mirror-shift"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Channels = tuple[float, float, float]
ImageSize = Annotated[int, Field(ge=8, le=4096)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Preprocess(_Record):
    """How a decoded picture becomes pixels ``uint8 [imgsz, imgsz, 3]``, sRGB."""

    imgsz: ImageSize
    resize: Resize = "squash"
    interpolation: Interpolation = "bicubic"


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
        """Return the record as one line of JSON."""
        return self.model_dump_json()

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
