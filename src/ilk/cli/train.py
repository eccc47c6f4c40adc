"""``ilk train``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ilk.cli.console import (
    print_json,
    print_left_out,
    print_scores,
    print_troubles,
    progress,
    say,
)
from ilk.cli.flags import grouped_flags
from ilk.errors import UsageError
from ilk.recipe import Recipe
from ilk.text import escaped
from ilk.training.distributed import leads

if TYPE_CHECKING:
    from ilk.training.lr_find import RangeTest

    FLAGS = Recipe
else:
    FLAGS = grouped_flags()


def train(
    data: str | None = None,
    /,
    *,
    recipe: str | None = None,
    resume: Path | None = None,
    name: str | None = None,
    runs: Path = Path("runs"),
    exist_ok: bool = False,
    lr_find: bool = False,
    json: bool = False,
    flags: Annotated[FLAGS | None, Parameter(name="*")] = None,
) -> None:
    """Turn labelled pictures into a classifier, and evaluate it.

    Parameters
    ----------
    data
        Folder with CLASS/picture.jpg, perhaps in train/, val/, test/;
        .csv or .parquet table with the columns path,label[,split];
        or the name of a data set: digits, cifar10, fashion-mnist.
    recipe
        A shipped recipe (probe, finetune, scratch, guide, case-study, cifar10, digits), or a YAML
        file; flags override it.
    resume
        Go on with a run that was stopped, given by its folder.
    name
        The run's name; default: train, train-2, …
    runs
        The folder that holds the runs.
    exist_ok
        Replace what a run of that name holds.
    lr_find
        Do not train; look for a good learning rate.
    json
        Print metrics.json instead of text.
    """
    import ilk

    changes = flags.model_dump(exclude_unset=True) if flags else {}
    places: dict[str, Any] = {
        "name": name,
        "runs": runs,
        "exist_ok": exist_ok,
        "progress": progress,
    }
    if lr_find:
        if resume is not None or data is None:
            raise UsageError("--lr-find takes DATA, and no --resume.")
        print_rates(*ilk.find_rate(data, recipe, **places, **changes), json=json)
        return
    run = ilk.train(data, recipe, resume=resume, **places, **changes)
    if not leads():
        return
    print_left_out(run.catalog.left_out)
    if run.evaluation:
        print_troubles(run.evaluation)
    if json:
        print_json(run.metrics)
        return
    pictures, classes = len(run.catalog.of("train")), len(run.catalog.classes)
    print(
        f"Trained on {pictures:,} pictures of {classes:,} classes in {run.facts['seconds']:.1f} s"
    )
    if run.evaluation:
        print_scores(run.evaluation)
        print(f"report  {escaped(run.report)}")
    else:
        say("Nothing was held out, so nothing is known of how good this model is.")
    print(f"model   {escaped(run.model)}")


def print_rates(test: RangeTest, folder: Path, json: bool) -> None:
    """Print what a learning-rate range test found."""
    if json:
        print_json(asdict(test))
    elif test.suggestion is None:
        print(f"No rate stands out. {test.why_none}")
    else:
        print(f"Try --lr {test.suggestion:g}, a tenth of where the loss was lowest")
    if not json:
        print(f"curve   {escaped(folder / 'plots' / 'lr_find.png')}")
