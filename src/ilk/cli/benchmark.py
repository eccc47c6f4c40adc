"""``ilk benchmark``."""

from __future__ import annotations

import os
from pathlib import Path

from ilk.cli.console import Count, print_json, print_table
from ilk.cli.running import DEFAULT, Running
from ilk.progress import heartbeat
from ilk.runtime import cores
from ilk.text import escaped, pluralize


def benchmark(
    models: list[Path],
    /,
    *,
    data: str | None = None,
    split: str | None = None,
    json: bool = False,
    workers: Count | None = None,
    running: Running = DEFAULT,
) -> None:
    """Compare the speed, size and accuracy of models and exported files.

    They are timed in turns, so that a machine that slows down affects all alike. Latency and
    throughput are those of the network; the end-to-end throughput starts from JPEG bytes.

    Parameters
    ----------
    models
        Trained models and exported files with the same classes and input size.
    data
        Folder, table or data set; default: as for 'ilk export'.
    split
        train, val, test or all; default: the held-out pictures.
    json
        Print JSON instead of text.
    workers
        Decoding threads; default: one a core.
    """
    import ilk

    with heartbeat("benchmarking") as progress:
        found = ilk.benchmark(
            models,
            data=data,
            split=split,
            options=running.options(),
            workers=workers,
            progress=progress,
        )
    if json:
        print_json([row.to_dict() for row in found])
        return
    names = _short([row.artefact for row in found])
    print_table(
        ("model", "ms", "pictures/s", "from files", "MB", "accuracy"),
        [
            (
                name,
                f"{row.speed.latency_ms()['p50']:.2f}",
                f"{row.speed.throughput:,.0f}",
                f"{row.speed.end_to_end:,.0f}" if row.speed.end_to_end else "",
                f"{row.size_bytes / 1e6:.1f}",
                f"{100 * row.accuracy.value:.1f} %",
            )
            for name, row in zip(names, found, strict=True)
        ],
    )
    print()
    print_table(
        ("", "p95 ms", "p99 ms", "load s", "memory MB", "runs in"),
        [
            (
                name,
                *(f"{row.speed.latency_ms()[which]:.2f}" for which in ("p95", "p99")),
                f"{row.load_s:.1f}",
                f"{row.memory_bytes / 1e6:,.0f}" if row.memory_bytes else "",
                row.runs_in,
            )
            for name, row in zip(names, found, strict=True)
        ],
    )
    accuracy = found[0].accuracy
    print(
        "\nms: median latency of one picture; pictures/s: in the best batches; from files: with\n"
        "decoding; load: from process start to first prediction. "
        f"{pluralize(cores(), 'thread')}. Accuracy of\nthe first: {accuracy}"
    )


def _short(paths: list[str]) -> list[str]:
    """Return paths relative to their common folder."""
    common = os.path.commonpath([Path(p).parent for p in paths])
    return [escaped(os.path.relpath(p, common or ".")) for p in paths]
