"""Recipe: how to train, as a typed and validated record. YAML files and flags both fill it."""

from __future__ import annotations

import difflib
import re
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ilk.errors import UsageError, listed
from ilk.spec import ImageSize, Resize


class Recipe(BaseModel):
    """How to train. Each field is also a flag of ``ilk train``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mode: Literal["probe"] = Field(
        "probe", description="How to train: probe solves a logistic head on frozen features."
    )
    model: str = Field(
        "tf_efficientnet_lite0", description="Backbone: any timm model; see 'ilk backbones'."
    )
    weights: Path | None = Field(
        None, description="File with the backbone's weights (.safetensors, .pth); else found."
    )
    imgsz: ImageSize | None = Field(
        None, description="Side of the square input in pixels; default: the backbone's own."
    )
    resize: Resize = Field(
        "squash", description="How a picture becomes square: whole but stretched, cut, or padded."
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: rare classes weigh as much as common ones."
    )
    regularisation: float | None = Field(
        None, gt=0, description="L2 strength of the head; default: by cross-validation on train."
    )
    val_share: float = Field(
        0.0, ge=0, lt=1, description="Share held out as val where the data has no splits."
    )
    test_share: float = Field(
        0.25, ge=0, lt=1, description="Share held out as test where the data has no splits."
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="Seed of the split and of the cross-validation."
    )
    max_unreadable: float = Field(
        0.05, ge=0, le=1, description="Stop if more than this share of files cannot be read."
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps.")
    engine: Literal["auto", "openvino", "pytorch"] = Field(
        "auto", description="What runs the backbone; auto: OpenVINO on a CPU, else PyTorch."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 where the processor has it."
    )
    batch: int = Field(32, gt=0, le=4096, description="Pictures run through the network at once.")
    workers: int | None = Field(
        None, gt=0, le=256, description="Threads that decode; default: one a core."
    )

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
            raise PydanticCustomError("device", "give auto, cpu, cuda, cuda:1 or mps")
        return device

    @model_validator(mode="after")
    def _something_left_to_train_on(self) -> Recipe:
        if self.val_share + self.test_share >= 1:
            raise PydanticCustomError(
                "shares", "val_share and test_share leave nothing to train on"
            )
        return self

    def override(self, changes: dict[str, Any]) -> Recipe:
        """Return this recipe with some fields changed, validated anew.

        Raises
        ------
        UsageError
            A field does not exist or its value is not allowed.
        """
        return validated({**self.model_dump(exclude_unset=True), **changes})

    def to_yaml(self) -> str:
        """Return exactly what ran, every default spelled out."""
        import yaml

        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def validated(values: dict[str, Any], source: str = "the recipe") -> Recipe:
    """Build a Recipe from untrusted values; ``source`` names them in messages."""
    unknown = [key for key in values if key not in Recipe.model_fields]
    if unknown:
        near = difflib.get_close_matches(str(unknown[0]), Recipe.model_fields, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise UsageError(
            f"Unknown key '{unknown[0]}' in {source}.{hint} "
            f"Known: {', '.join(Recipe.model_fields)}."
        )
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"In {source}: {explained(error)}") from None


def explained(error: ValidationError) -> str:
    """Say in one line what a value was and what is allowed."""
    first = error.errors(include_url=False)[0]
    message = f"{first['msg'][0].lower()}{first['msg'][1:]}."
    where = ".".join(str(part) for part in first["loc"])
    return f"{where} = {first['input']!r}: {message}" if where else message


def shipped() -> dict[str, Path]:
    """Return the recipes that come with ilk, by name."""
    folder = Path(str(resources.files("ilk") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load(source: str | Path | Recipe | None) -> Recipe:
    """Load a recipe: a shipped one by name, a YAML file, or the default for ``None``.

    Raises
    ------
    UsageError
        There is no such recipe, or it holds unknown keys or values that are not allowed.
    """
    if source is None:
        return Recipe()
    if isinstance(source, Recipe):
        return source
    import yaml

    path = shipped().get(str(source), Path(source))
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(
            f"No recipe '{source}': {why}. Shipped: {listed(shipped())}; or give a YAML file."
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: a date that is none, a path with NUL. RecursionError: nested too deep.
        raise UsageError(f"{path} is not YAML: {error}".replace("\n", " ")) from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds a {type(values).__name__}, not a table of recipe keys.")
    return validated(values, source=str(path))
