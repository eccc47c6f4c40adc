"""Flags: the fields of a Recipe as flags of ``ilk train``, in groups."""

from __future__ import annotations

from copy import copy
from typing import Annotated, Any

from cyclopts import Group, Parameter
from pydantic import create_model

from ilk.recipe import RENAMED, Recipe

# The first field of each group; the fields stand in that order.
GROUPS = {
    "mode": "What is trained",
    "epochs": "How long (finetune, scratch, guide; defaults: 'ilk recipes MODE')",
    "optimizer": "Learning rate and optimizer (likewise)",
    "freeze": "What stays as pretrained (finetune, guide)",
    "class_weights": "Objective",
    "augment": "Augmentation (finetune, scratch, guide)",
    "val_share": "Data",
    "device": "Machine",
    "cache": "Keeping (finetune, scratch, guide)",
}
BY_MODE = {"model", "batch", "val_share"}  # apply to all modes, but with other defaults


def is_shown(name: str, default: Any) -> bool:
    """Say whether the help page shows the default of a field."""
    return default is not False and not Recipe.modes_of(name) and name not in BY_MODE


def grouped_flags() -> type[Recipe]:
    """Return Recipe with its fields sorted into the groups of the help page.

    A default that depends on the mode is not shown: it is in the recipe. Nor are switches that are
    off. Old names of fields are accepted but not shown.
    """
    fields: dict[str, Any] = {}
    group: Group | None = None
    for place, (name, field) in enumerate(Recipe.model_fields.items()):
        if name in GROUPS:
            group = Group(GROUPS[name], sort_key=place)
        is_switch = field.annotation in {bool, bool | None}
        flag = Parameter(
            group=group,
            show_default=None if is_shown(name, field.default) else False,
            negative="--no-" + name.replace("_", "-") if is_switch else (),
        )
        fields[name] = (Annotated[field.annotation, flag], copy(field))
    for old, new in RENAMED.items():
        field = Recipe.model_fields[new]
        fields[old] = (Annotated[field.annotation, Parameter(show=False)], copy(field))
    return create_model("Flags", __base__=Recipe, **fields)
