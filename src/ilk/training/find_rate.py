"""Find a rate: look for a good learning rate, without training."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilk import recipes
from ilk.errors import UsageError
from ilk.folder import new_folder, readable_errors
from ilk.recipe import Recipe
from ilk.runtime import Progress, silent
from ilk.training.distributed import asked_for
from ilk.training.prepare_data import dealt
from ilk.training.train import own_recipe

if TYPE_CHECKING:
    from ilk.training.lr_find import RangeTest


def find_rate(
    data: Any,
    recipe: Recipe | str | Path | None = None,
    *,
    name: str | None = None,
    runs: str | PathLike[str] = "runs",
    exist_ok: bool = False,
    progress: Progress = silent,
    **changes: Any,
) -> tuple[RangeTest, Path]:
    """Look for a good learning rate by the range test (Smith 2017), without training.

    Takes what `train` takes, and writes ``lr_find.csv`` and ``plots/lr_find.png`` to a folder
    ``lr-find``, ``lr-find-2``, … of ``runs``.

    Returns
    -------
    RangeTest
        The rates, the smoothed losses, and the rate that they suggest.
    Path
        The folder.

    Raises
    ------
    UsageError
        The mode has no learning rate.
    """
    chosen = recipes.load(recipe or own_recipe(data, changes), **changes)
    if chosen.mode == "probe":
        raise UsageError(
            "--lr-find does not apply to --mode probe, which solves its head without a rate; add "
            "--mode finetune, scratch or guide."
        )
    if asked_for():
        raise UsageError("--lr-find runs in one process; start it without torchrun.")
    from ilk.training import modes

    with new_folder(Path(runs), name, exist_ok, default="lr-find") as folder:
        catalog = dealt(data, chosen, changes, progress)
        recipe = modes.checked(catalog, chosen, changes)
        result = modes.find_rate(catalog, recipe, folder, progress)
        with readable_errors(folder):
            result.write(folder)
        return result, folder
