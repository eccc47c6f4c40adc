"""Recipes: build a Recipe from the shipped one of its mode, a YAML file, and flags.

A YAML file only needs the keys that differ from the shipped recipe of its mode.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ilk.errors import UsageError
from ilk.recipe import Recipe, with_new_names
from ilk.text import join_limited

DEFAULT = "probe"
# The learning rate of an optimizer that is not the one of the shipped recipe.
DEFAULT_LRS = {"sgd": 0.01, "adamw": 3e-4, "muon": 0.02}


def load(source: str | Path | Recipe | None = None, **changes: Any) -> Recipe:
    """Load a recipe, change some fields, and check that they fit together.

    Parameters
    ----------
    source : str, Path or Recipe, optional
        A YAML file, the name of a shipped recipe, or a Recipe, whose unset fields come from the
        shipped one of its mode. Default: that of ``changes["mode"]``, or the probe.
    **changes
        Fields of `Recipe`.

    Raises
    ------
    UsageError
        There is no such recipe, a key is unknown, a value is not allowed, or a field does not
        apply to the mode.
    """
    changes = with_new_names(changes)
    values = _values(source, changes)
    for one, other in (("budget", "epochs"), ("epochs", "budget")):
        if changes.get(one) is not None:  # a flag replaces what a file says
            values.pop(other, None)
    given = values | changes
    base = _base(given)
    where = "the recipe" if source is None or isinstance(source, Recipe) else str(source)
    recipe = validated(base | given, where)
    _refuse_misfits(recipe, given, base, asked=changes)
    return recipe


def fields_given(source: str | Path | Recipe | None, changes: dict[str, Any]) -> set[str]:
    """Return the fields that the user chose: by flags, in a file of theirs or in a Recipe."""
    ours = isinstance(source, str) and _file(source, changes) in shipped().values()
    return {*with_new_names(changes), *({} if ours else _values(source, changes))}


def _values(source: str | Path | Recipe | None, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that a recipe sets."""
    if source is None:
        return {}
    if isinstance(source, Recipe):
        return source.model_dump(exclude_unset=True)
    return with_new_names(_read(_file(source, changes), str(source)))


def shipped() -> dict[str, Path]:
    """Return the recipes that come with ilk, by name."""
    folder = Path(str(resources.files("ilk") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def summary(path: Path) -> str:
    """Return the comment in the first line of a shipped recipe."""
    return path.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")


def _base(given: dict[str, Any]) -> dict[str, Any]:
    """Return the shipped recipe of the mode, for the fields that are not given."""
    mode = str(given.get("mode") or DEFAULT)
    base = _read(_shipped(mode, given), mode) if mode in shipped() else {}
    if given.get("budget") is not None:
        base["epochs"] = None
    if "model" in given and given["model"] != base.get("model"):
        base.pop("rates", None)  # they name parts of another model
    if "optimizer" in given and given["optimizer"] != base.get("optimizer"):
        base["lr"] = DEFAULT_LRS.get(str(given["optimizer"]))
    return base


def _file(source: str | Path, changes: dict[str, Any]) -> Path:
    """Return a recipe's file: the given one if it exists, else the shipped one of that name."""
    path = Path(source)
    if isinstance(source, Path) or path.is_file() or source not in shipped():
        return path
    return _shipped(source, changes)


def _shipped(name: str, changes: dict[str, Any]) -> Path:
    """Return the file of a shipped recipe; a guide with nothing frozen is the case study.

    The case study's other fields differ too.
    """
    return shipped()["case-study" if name == "guide" and changes.get("freeze") == "none" else name]


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
    """Return in one line what a value was and what is allowed."""
    first = error.errors(include_url=False)[0]
    message = f"{first['msg'][0].lower()}{first['msg'][1:]}."
    if isinstance(first["input"], bool) and first["type"] == "string_type":
        message += " (YAML reads no, off and yes as booleans; write none instead.)"
    where = ".".join(str(part) for part in first["loc"])
    return f"{where} = {first['input']!r}: {message}" if where else message


def _refuse_misfits(
    recipe: Recipe, given: dict[str, Any], base: dict[str, Any], asked: dict[str, Any]
) -> None:
    """Refuse fields that do not apply to the mode or to another setting.

    ``asked`` are those of the ``given`` fields that come from flags, not from a file or a Recipe.
    """

    def name(field: str) -> str:
        return _flag(field) if field in asked or field not in given else f"'{field}'"

    for field, value in given.items():
        if not recipe.applies(field) and (value is not None or field in asked):
            modes = Recipe.modes_of(field) or ()
            usual = (
                ""
                if "mode" in given
                else f" The default mode is probe: give another, such as --mode {modes[0]}."
            )
            raise UsageError(
                f"{name(field)} does not apply to {name('mode')} {recipe.mode}, only to "
                f"{', '.join(modes)}.{usual}"
            )
    for field, (why, applies) in _CONDITIONS.items():
        usual = base.get(field, Recipe.model_fields[field].default)
        if given.get(field) and given[field] != usual and not applies(recipe):
            raise UsageError(f"{name(field)} does not apply {why}.")
    if given.get("budget") is not None and given.get("epochs") is not None:
        raise UsageError("--epochs and --budget both set how long to train; give only one.")
    if recipe.val_share + recipe.test_share >= 1:
        raise UsageError("--val-share and --test-share leave nothing to train on.")


# Settings that depend on another: field -> (when they do not apply, in words; when they do).
_CONDITIONS: dict[str, tuple[str, Callable[[Recipe], Any]]] = {
    "precision": ("to --mode probe as fp16", lambda r: r.precision != "fp16" or r.mode != "probe"),
    "momentum": ("with --optimizer adamw", lambda r: r.optimizer != "adamw"),
    "nesterov": ("without --optimizer sgd", lambda r: r.optimizer == "sgd"),
    "step_every": ("without --schedule step", lambda r: r.schedule == "step"),
    "step_factor": ("without --schedule step", lambda r: r.schedule == "step"),
    "unfreeze_every": ("with --freeze none: nothing is frozen", lambda r: r.freeze != "none"),
    "layer_decay": (
        "with --freeze backbone: only one layer is trained",
        lambda r: r.freeze != "backbone" or r.unfreeze_every,
    ),
    "warmup": (
        "unless it is shorter than --epochs",
        lambda r: r.epochs is None or r.warmup < r.epochs,
    ),
    "alternate": ("with --flip 0", lambda r: r.flip > 0),
    "strength": ("with --augment none", lambda r: r.augment != "none"),
    "imgsz_from": (
        "unless it is smaller than --imgsz",
        lambda r: not (r.imgsz and r.imgsz_from) or r.imgsz_from < r.imgsz,
    ),
}


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def _read(path: Path, name: str) -> dict[str, Any]:
    """Read a YAML file; ``name`` is what the user called it."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(
            f"No recipe '{name}': {why}. Shipped: {join_limited(shipped(), 9)}; or give a YAML "
            "file."
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: an invalid date, a path with NUL. RecursionError: nested too deeply.
        raise UsageError(f"{path} is not YAML: {error}".replace("\n", " ")) from None
    if values is None:
        raise UsageError(f"{path} is empty. Write, say, 'mode: finetune'.")
    if not isinstance(values, dict):
        raise UsageError(f"{path} contains a {type(values).__name__}, not a table of recipe keys.")
    return values
