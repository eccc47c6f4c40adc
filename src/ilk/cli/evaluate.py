"""``ilk evaluate``."""

from __future__ import annotations

from pathlib import Path

from ilk.cli.console import (
    Count,
    print_json,
    print_left_out,
    print_scores,
    print_table,
    print_troubles,
    progress,
)
from ilk.engines import EngineName, Precision
from ilk.errors import shown

MOST_CLASSES = 50


def evaluate(
    model: Path,
    data: str,
    /,
    *,
    split: str | None = None,
    name: str | None = None,
    runs: Path = Path("runs"),
    exist_ok: bool = False,
    json: bool = False,
    max_unreadable: float = 0.05,
    batch: Count = 32,
    workers: Count | None = None,
    device: str = "auto",
    engine: EngineName = "auto",
    precision: Precision = "auto",
) -> None:
    """Score a trained model on labelled pictures; classes are matched by name.

    Parameters
    ----------
    model
        A model.safetensors, or the run folder that holds it.
    data
        Folder, table or name of a data set, as for 'ilk train'.
    split
        train, val, test or all; default: what was held out from the training.
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
    device
        auto, cpu, cuda, cuda:1 or mps.
    engine
        What runs the network; auto: OpenVINO on a CPU, else PyTorch.
    precision
        auto: bf16 where the processor has it.
    """
    from ilk import api
    from ilk.run import new_folder, write_evaluation

    with new_folder(runs, name, exist_ok, default="evaluate") as folder:
        classifier = api.load(model, device=device, engine=engine, precision=precision)
        result = api.evaluate(
            classifier,
            data,
            split=split,
            max_unreadable=max_unreadable,
            batch=batch,
            workers=workers,
            progress=progress,
        )
        write_evaluation(folder, result, classifier)
    print_left_out(result.left_out)
    print_troubles(result)
    if json:
        print_json(result.to_dict())
        return
    print_scores(result)
    print()
    present = [item for item in result.per_class.items() if item[1]["support"]]
    rows = sorted(present, key=lambda item: item[1]["f1"])
    print_table(
        ("class", "precision", "recall", "F1", "pictures"),
        [
            (
                shown(label),
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
        print(f"{pair['count']:,} x {shown(pair['true'])} taken for {shown(pair['predicted'])}")
    print(f"\nreport   {shown(folder / 'report.html')}")
    print(f"metrics  {shown(folder / 'metrics.json')}")
