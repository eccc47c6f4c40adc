"""``ilk train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ilk.cli.console import (
    print_class_troubles,
    print_json,
    print_left_out,
    print_scores,
    progress,
    say,
)
from ilk.errors import shown
from ilk.recipe import Recipe


def train(
    data: str,
    /,
    *,
    recipe: str | None = None,
    name: str | None = None,
    runs: Path = Path("runs"),
    exist_ok: bool = False,
    json: bool = False,
    flags: Annotated[Recipe | None, Parameter(name="*")] = None,
) -> None:
    """Turn labelled pictures into a classifier, and evaluate it.

    Parameters
    ----------
    data
        Folder with CLASS/picture.jpg, perhaps in train/, val/, test/;
        .csv or .parquet table with the columns path,label[,split];
        or the name of a data set: digits, cifar10, fashion-mnist.
    recipe
        A shipped recipe's name, or a YAML file; flags override it.
    name
        The run's name; default: train, train-2, …
    runs
        The folder that holds the runs.
    exist_ok
        Replace what a run of that name holds.
    json
        Print metrics.json instead of text.
    """
    from ilk import api
    from ilk import recipe as recipes

    base = recipes.load(recipe)
    changes = flags.model_dump(exclude_unset=True) if flags else {}
    run = api.train(
        data, base, name=name, runs=runs, exist_ok=exist_ok, progress=progress, **changes
    )
    print_left_out(run.catalog.left_out)
    if run.evaluation:
        print_class_troubles(run.evaluation)
    if json:
        print_json(run.metrics)
        return
    pictures, classes = len(run.catalog.of("train")), len(run.catalog.classes)
    print(
        f"Trained on {pictures:,} pictures of {classes:,} classes in {run.facts['seconds']:.1f} s"
    )
    if run.evaluation:
        print_scores(run.evaluation)
        print(f"report  {shown(run.report)}")
    else:
        say("Nothing was held out, so nothing is known of how good this model is.")
    print(f"model   {shown(run.model)}")
