"""Flags: the fields of Recipe as grouped flags of ``ilk train``."""

from __future__ import annotations

from copy import copy
from typing import Annotated, Any

from cyclopts import Group, Parameter
from pydantic import create_model

from ilk.recipe import Recipe

# The first field of each group, in the order of the fields.
GROUPS = {
    "mode": "What is trained",
    "epochs": "How long (finetune, scratch, guide; defaults: 'ilk recipes MODE')",
    "optimizer": "Learning rate and optimizer (same modes)",
    "freeze": "What is frozen (finetune, guide)",
    "class_weights": "Objective",
    "augment": "Augmentation (finetune, scratch, guide)",
    "val_share": "Data",
    "device": "Machine",
    "cache": "Cache and checkpoints (finetune, scratch, guide)",
}
BY_MODE = {"model", "batch", "val_share"}  # whose defaults depend on the mode


def is_shown(name: str, default: Any) -> bool:
    """Return whether the help page shows the default of a field."""
    return default is not False and not Recipe.modes_of(name) and name not in BY_MODE


def grouped_flags() -> type[Recipe]:
    """Return Recipe with its fields in groups for the help page.

    Defaults that depend on the mode are not shown: see ``ilk recipes MODE``.
    """
    fields: dict[str, Any] = {}
    group: Group | None = None
    for position, (name, field) in enumerate(Recipe.model_fields.items()):
        if name in GROUPS:
            group = Group(GROUPS[name], sort_key=position)
        flag = Parameter(
            group=group,
            show_default=None if is_shown(name, field.default) else False,
            negative="--no-" + name.replace("_", "-") if field.annotation is bool else (),
        )
        fields[name] = (Annotated[field.annotation, flag], copy(field))
    return create_model("Flags", __base__=Recipe, **fields)
