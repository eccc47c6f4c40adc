"""``ilk evaluate``."""

from __future__ import annotations

from pathlib import Path

from ilk.cli.console import (
    Count,
    given_sources,
    print_caveats,
    print_confidence,
    print_json,
    print_left_out,
    print_scores,
    print_table,
    say,
)
from ilk.cli.running import DEFAULT, Running
from ilk.errors import UsageError
from ilk.evaluation.result import Evaluation
from ilk.progress import heartbeat
from ilk.text import escaped, split_commas

MAX_CLASSES = 50
MAX_SLICES = 5
MAX_CONFUSIONS = 5
CORRUPTED = 200  # pictures


def evaluate(
    model: Path,
    /,
    *data: str,
    split: str | None = None,
    target_precision: float | None = None,
    target_coverage: float | None = None,
    slices: list[str] | None = None,
    columns: str | None = None,
    group_by: str | None = None,
    unknown: str | None = None,
    corruptions: bool = False,
    corrupted: Count | None = None,
    quick: bool = False,
    name: str | None = None,
    runs: Path = Path("runs"),
    exist_ok: bool = False,
    json: bool = False,
    max_unreadable: float = 0.05,
    max_pixels: Count | None = None,
    batch: Count = 32,
    workers: Count | None = None,
    running: Running = DEFAULT,
) -> None:
    """Score a trained model on labelled pictures; classes are matched by name.

    Parameters
    ----------
    model
        A model.safetensors, the run folder that holds it, or an exported file.
    data
        Folders, tables or the name of a data set, as for 'ilk train'.
    split
        train, val, test or all; default: what was held out from the training.
    target_precision
        Choose a threshold at which accepted answers have at least this precision, with 95 %
        confidence on the model's own held-out pictures, and store it in the model.
    target_coverage
        Choose a threshold that accepts at least this share of the pictures, and store it likewise.
    slices
        Columns to slice the accuracy by, separated by commas: of the table, or size, shape, format,
        camera, day, folder. Columns of a table with up to 20 values are always used.
    columns
        What a table calls its columns, as in path=image,label=choice.
    group_by
        What pictures have in common that are not independent, such as a column 'patient', as for
        'ilk train': intervals then count groups. Default: as in the training.
    unknown
        Folder or table of out-of-distribution pictures, to measure whether the model detects them.
    corruptions
        Also score a sample of the pictures under 15 corruptions (noise, blur, weather, …) at 5
        severities.
    corrupted
        The size of that sample; default: 200.
    quick
        Leave the heat maps of the most confident mistakes out of the report.
    name
        Name of the folder for metrics.json, report and plots; default: evaluate, evaluate-2, …
    runs
        The folder that holds the runs.
    exist_ok
        Replace what a run of that name holds.
    json
        Print metrics.json instead of text.
    max_unreadable
        The largest share of files that may be unreadable.
    max_pixels
        The most pixels of a picture; larger ones are not read.
    batch
        Batch size.
    workers
        Decoding threads; default: one per core.
    """
    import ilk

    if not data:
        raise UsageError("Give DATA: ilk evaluate MODEL DATA.")
    if corrupted is not None and not corruptions:
        raise UsageError("--corrupted does not apply without --corruptions.")
    with heartbeat("evaluating") as progress:
        classifier = running.load(model)
        before = classifier.spec.thresholds.get("accept")
        result = ilk.evaluate(
            classifier,
            given_sources(data),
            split=split,
            slices=split_commas(slices or ()),
            columns=columns,
            group_by=group_by,
            unknown=unknown,
            corruptions=(corrupted or CORRUPTED) if corruptions else 0,
            target_precision=target_precision,
            target_coverage=target_coverage,
            runs=runs,
            name=name,
            exist_ok=exist_ok,
            explain=not quick,
            max_unreadable=max_unreadable,
            max_pixels=max_pixels,
            batch=batch,
            workers=workers,
            progress=progress,
        )
    print_left_out(result.left_out)
    print_caveats(result)
    stored = target_precision is not None or target_coverage is not None
    if json:
        if stored:
            _say_stored(result, classifier.source, before)
        print_json(result.to_dict())
        return
    print_scores(result)
    print_confidence(result)
    print()
    _print_classes(result)
    _print_slices(result)
    if result.corruptions:
        found = result.corruptions
        print(f"corrupted: {100 * found.mean:.1f} % on average; uncorrupted: {found.clean}")
    if stored:
        _say_stored(result, classifier.source, before)
    assert result.folder is not None
    print(f"\nreport   {escaped(result.folder / 'report.html')}")
    print(f"metrics  {escaped(result.folder / 'metrics.json')}")


def _say_stored(evaluation: Evaluation, model: str, before: float | None) -> None:
    """Say which threshold was stored in the model, and which one it replaced."""
    if evaluation.abstention:
        instead = f" (before: {before:.4f})" if before is not None else ""
        say(
            f"Stored in {escaped(model)}: answers are accepted from a probability of "
            f"{evaluation.abstention.value:.4f} on{instead}."
        )


def _print_classes(evaluation: Evaluation) -> None:
    """Print the scores by class, worst first, and the most frequent confusions."""
    present = [item for item in evaluation.per_class.items() if item[1]["support"]]
    rows = sorted(present, key=lambda item: item[1]["f1"])
    print_table(
        ("class", "precision", "recall", "F1", "pictures"),
        [
            (
                escaped(label),
                *(f"{100 * v[name]:.1f}" for name in ("precision", "recall", "f1")),
                f"{v['support']:,}",
            )
            for label, v in rows[:MAX_CLASSES]
        ],
    )
    if len(rows) > MAX_CLASSES:
        print(f"… and {len(rows) - MAX_CLASSES:,} classes with a higher F1, in metrics.json")
    for pair in evaluation.most_confused[:MAX_CONFUSIONS]:
        true, predicted = escaped(pair["true"]), escaped(pair["predicted"])
        print(f"{pair['count']:,} x {true} mistaken for {predicted}")


def _print_slices(evaluation: Evaluation) -> None:
    """Print the worst slices of each column."""
    for name, found in evaluation.slices.items():
        print(f"\nby {name}, worst first")
        for part in found[:MAX_SLICES]:
            mark = "  differs from the rest" if part.differs else ""
            print(f"  {escaped(part.value) or '(none)'}: {part.accuracy}{mark}")
