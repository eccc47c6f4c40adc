"""``ilk train``."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ilk.cli.console import (
    given_sources,
    print_caveats,
    print_json,
    print_left_out,
    print_scores,
    say,
)
from ilk.cli.flags import grouped_flags
from ilk.errors import UsageError
from ilk.progress import heartbeat
from ilk.recipe import Recipe
from ilk.runtime import is_main_process, silent
from ilk.text import escaped

if TYPE_CHECKING:
    from ilk.training.find_rate import RangeTest

    FLAGS = Recipe
else:
    FLAGS = grouped_flags()

MAX_NAMED = 10  # classes


def train(
    *data: str,
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
        Folder with CLASS/picture.jpg, optionally in train/, val/, test/;
        .csv or .parquet table with the columns path,label[,split];
        or the name of a data set: digits, cifar10, fashion-mnist.
        Of several, a later one corrects the labels of files that an earlier one has too.
    recipe
        A YAML file, or a shipped recipe (probe, finetune, scratch, guide, case-study, cifar10,
        digits); flags override it.
    resume
        Resume an interrupted run, given by its folder.
    name
        The run's name; default: train, train-2, …
    runs
        The folder that holds the runs.
    exist_ok
        Overwrite a run of that name.
    lr_find
        Do not train; find a good learning rate.
    json
        Print metrics.json instead of text.
    """
    import ilk

    changes = flags.model_dump(exclude_unset=True) if flags else {}
    places: dict[str, Any] = {"name": name, "runs": runs, "exist_ok": exist_ok}
    if lr_find:
        if resume is not None or not data:
            raise UsageError("--lr-find needs DATA and cannot be combined with --resume.")
        with heartbeat("looking for a learning rate") as progress:
            found = ilk.find_rate(
                given_sources(data), recipe, **places, progress=progress, **changes
            )
        print_rates(*found, json=json)
        return
    with heartbeat("training") if is_main_process() else nullcontext(silent) as progress:
        run = ilk.train(
            given_sources(data), recipe, resume=resume, **places, progress=progress, **changes
        )
    if not is_main_process():
        return
    print_left_out(run.catalog.left_out)
    if run.evaluation:
        print_caveats(run.evaluation)
    if json:
        print_json(run.metrics)
        return
    pictures, names = len(run.catalog.of("train")), run.catalog.classes
    named = f" ({', '.join(map(escaped, names))})" if len(names) <= MAX_NAMED else ""
    print(
        f"Trained on {pictures:,} pictures of {len(names):,} classes{named} in "
        f"{run.facts.seconds:.1f} s"
    )
    if run.evaluation:
        print_scores(run.evaluation)
        print(f"report  {escaped(run.report)}")
    else:
        say("No pictures were held out, so the model could not be evaluated.")
    print(f"model   {escaped(run.model)}")


def print_rates(test: RangeTest, folder: Path, json: bool) -> None:
    """Print the result of a learning-rate range test."""
    if json:
        print_json(asdict(test))
    elif test.suggestion is None:
        print(f"No learning rate stands out. {test.why_none}")
    else:
        print(f"Try --lr {test.suggestion:g}, a tenth of the rate with the lowest loss")
    if not json:
        print(f"curve   {escaped(folder / 'plots' / 'lr_find.png')}")
