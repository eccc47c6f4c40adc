"""``ilk evaluate``."""

from __future__ import annotations

from pathlib import Path

from ilk.cli.console import (
    Count,
    print_confidence,
    print_json,
    print_left_out,
    print_scores,
    print_table,
    print_troubles,
    progress,
    say,
)
from ilk.cli.running import DEFAULT, Running
from ilk.errors import UsageError
from ilk.evaluation.metrics import Evaluation
from ilk.text import escaped

MOST_CLASSES = 50
MOST_SLICES = 5
CORRUPTED = 200  # pictures


def evaluate(
    model: Path,
    data: str,
    /,
    *,
    split: str | None = None,
    target_precision: float | None = None,
    target_coverage: float | None = None,
    slices: list[str] | None = None,
    unknown: str | None = None,
    corruptions: bool = False,
    corrupted: Count | None = None,
    quick: bool = False,
    name: str | None = None,
    runs: Path = Path("runs"),
    exist_ok: bool = False,
    json: bool = False,
    max_unreadable: float = 0.05,
    batch: Count = 32,
    workers: Count | None = None,
    running: Running = DEFAULT,
) -> None:
    """Score a trained model on labelled pictures; classes are matched by name.

    Parameters
    ----------
    model
        A model.safetensors or the run folder that holds it, or what was exported of one.
    data
        Folder, table or name of a data set, as for 'ilk train'.
    split
        train, val, test or all; default: what was held out from the training.
    target_precision
        Accept only answers so sure that they are right at least this often, as far as the model's
        own held-out pictures show with 95 % confidence. The threshold is stored in the model.
    target_coverage
        Accept the surest answers, at least this share of them; stored likewise.
    slices
        Columns to take the accuracy apart by, joined by commas: of the table, or size, shape,
        format, camera, day, folder. A table's columns of up to 20 values are taken unasked.
    unknown
        Folder or table of pictures of something else, to see whether the model tells them.
    corruptions
        Score a sample of the pictures also when noisy, blurred, snowed on and so on: 15 ways, at 5
        severities each.
    corrupted
        How many pictures that sample has; default 200.
    quick
        Do not show in the report which parts of the surest mistakes spoke for the answer.
    name
        Name of the folder for metrics.json, report and plot; default: evaluate, evaluate-2, …
    runs
        The folder that holds the runs.
    exist_ok
        Replace what a run of that name holds.
    json
        Print metrics.json instead of text.
    max_unreadable
        Stop if more than this share of files cannot be read.
    batch
        Pictures run through the network at once.
    workers
        Threads that decode; default: one a core.
    """
    import ilk
    from ilk.evaluation.writing import write_evaluation
    from ilk.folder import new_folder

    if corrupted is not None and not corruptions:
        raise UsageError("--corrupted does not apply without --corruptions.")
    with new_folder(runs, name, exist_ok, default="evaluate") as folder:
        classifier = running.load(model)
        threshold, before = None, classifier.spec.thresholds.get("accept")
        if target_precision is not None or target_coverage is not None:
            threshold = ilk.choose_threshold(
                classifier, target_precision=target_precision, target_coverage=target_coverage
            )
            classifier = ilk.with_threshold(classifier, threshold)
            ilk.refuse_read_only(classifier.weights_file())
        result = ilk.evaluate(
            classifier,
            data,
            split=split,
            slices=[part for names in slices or () for part in names.split(",") if part],
            unknown=unknown,
            corruptions=(corrupted or CORRUPTED) if corruptions else 0,
            max_unreadable=max_unreadable,
            batch=batch,
            workers=workers,
            progress=progress,
        )
        overlays = ilk.explained_mistakes(classifier, result) if not quick else None
        write_evaluation(folder, result, classifier, overlays)
        if threshold is not None:
            ilk.store_threshold(Path(classifier.source), threshold)
    print_left_out(result.left_out)
    print_troubles(result)
    if json:
        print_json(result.to_dict())
        return
    print_scores(result)
    print_confidence(result)
    print()
    present = [item for item in result.per_class.items() if item[1]["support"]]
    rows = sorted(present, key=lambda item: item[1]["f1"])
    print_table(
        ("class", "precision", "recall", "F1", "pictures"),
        [
            (
                escaped(label),
                f"{100 * v['precision']:.1f}",
                f"{100 * v['recall']:.1f}",
                f"{100 * v['f1']:.1f}",
                f"{v['support']:,}",
            )
            for label, v in rows[:MOST_CLASSES]
        ],
    )
    if len(rows) > MOST_CLASSES:
        print(f"… and {len(rows) - MOST_CLASSES:,} classes that do better, in metrics.json")
    for pair in result.most_confused[:5]:
        print(f"{pair['count']:,} x {escaped(pair['true'])} taken for {escaped(pair['predicted'])}")
    _print_slices(result)
    if result.corruptions:
        found = result.corruptions
        print(f"corrupted: {100 * found.mean:.1f} % on average, {found.clean} as they are")
    if threshold is not None:
        instead = f" (before: {before:.4f})" if before is not None else ""
        say(
            f"Stored in {escaped(classifier.source)}: answers are accepted from a probability of "
            f"{threshold.value:.4f} on{instead}."
        )
    print(f"\nreport   {escaped(folder / 'report.html')}")
    print(f"metrics  {escaped(folder / 'metrics.json')}")


def _print_slices(evaluation: Evaluation) -> None:
    """Print the worst slices of each column."""
    for name, found in evaluation.slices.items():
        print(f"\nby {name}, worst first")
        for part in found[:MOST_SLICES]:
            mark = "  differs from the rest" if part.differs else ""
            print(f"  {escaped(part.value) or '(none)'}: {part.accuracy}{mark}")
