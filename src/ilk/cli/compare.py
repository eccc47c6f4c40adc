"""``ilk compare``."""

from __future__ import annotations

from pathlib import Path

from ilk.cli.console import Count, print_json, print_left_out, print_table
from ilk.cli.running import DEFAULT, Running
from ilk.progress import heartbeat
from ilk.text import escaped

MAX_CLASSES = 20


def compare(
    a: Path,
    b: Path,
    data: str,
    /,
    *,
    split: str | None = None,
    columns: str | None = None,
    group_by: str | None = None,
    json: bool = False,
    max_unreadable: float = 0.05,
    batch: Count = 32,
    workers: Count | None = None,
    running: Running = DEFAULT,
) -> None:
    """Say which of two models is better on the same pictures.

    Parameters
    ----------
    a
        A model.safetensors, the run folder that holds it, or an exported file.
    b
        Another one.
    data
        Folder, table or name of a data set, as for 'ilk evaluate'.
    split
        train, val, test or all; default: what was held out from both trainings.
    columns
        What a table calls its columns, as in path=image,label=choice.
    group_by
        As for 'ilk evaluate'.
    json
        Print JSON instead of text.
    max_unreadable
        The largest share of files that may be unreadable.
    batch
        Batch size.
    workers
        Decoding threads; default: one per core.
    """
    import ilk

    with heartbeat("comparing") as progress:
        first, second = (running.load(model, among=True) for model in (a, b))
        found = ilk.compare(
            first,
            second,
            data,
            split=split,
            columns=columns,
            group_by=group_by,
            max_unreadable=max_unreadable,
            batch=batch,
            workers=workers,
            progress=progress,
        )
    print_left_out(found.a.left_out)
    if json:
        print_json(found.to_dict())
        return
    print(f"A  {escaped(found.a.model)}  {found.a.accuracy}")
    print(f"B  {escaped(found.b.model)}  {found.b.accuracy}")
    print(f"on {found.a.scored_on}\n")
    print(found.overall.in_words("A", "B"))
    print(
        f"Only A is right on {found.overall.only_a:,}, only B on {found.overall.only_b:,} "
        f"(McNemar's test: p = {found.overall.p_value:.3g}).\n"
    )
    order = sorted(found.by_class.items(), key=lambda item: -abs(item[1].difference.value))
    print_table(
        ("class", "B - A", "95 % interval", "only A", "only B", "pictures"),
        [
            (
                escaped(name),
                f"{100 * c.difference.value:+.1f}",
                f"{100 * c.difference.low:+.1f} to {100 * c.difference.high:+.1f}",
                f"{c.only_a:,}",
                f"{c.only_b:,}",
                f"{c.pictures:,}",
            )
            for name, c in order[:MAX_CLASSES]
        ],
    )
    if len(order) > MAX_CLASSES:
        print(f"… and {len(order) - MAX_CLASSES:,} classes with smaller differences; see --json")
