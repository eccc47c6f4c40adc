"""``ilk benchmark``."""

from __future__ import annotations

from pathlib import Path

from ilk.cli.console import Count, print_json, print_table
from ilk.cli.running import DEFAULT, Running
from ilk.errors import shown
from ilk.runtime import cores


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
    """Time models, or what was exported of them, beside one another.

    They take turns, so that a machine that grows slower harms all alike. Latency and throughput
    are of the model alone; end to end begins with the bytes of JPEG files.

    Parameters
    ----------
    models
        Trained models and exported files, of the same classes and input size.
    data
        Folder, table or data set; default: as for 'ilk export'.
    split
        train, val, test or all; default: what was held out.
    json
        Print JSON instead of text.
    workers
        Threads that decode; default: one a core.
    """
    from ilk import api

    found = api.benchmark(
        models, data=data, split=split, options=running.options(), workers=workers
    )
    if json:
        print_json([row.to_dict() for row in found])
        return
    print_table(
        (
            "model",
            "ms",
            "p95",
            "p99",
            "a second",
            "from files",
            "MB",
            "load s",
            "memory",
            "accuracy",
        ),
        [
            (
                shown(row.artefact),
                *(f"{ms:.2f}" for ms in row.speed.latency_ms().values()),
                f"{row.speed.throughput:,.0f} (of {row.speed.best_batch})",
                f"{row.speed.end_to_end:,.0f}" if row.speed.end_to_end else "",
                f"{row.size_bytes / 1e6:.1f}",
                f"{row.load_s:.1f}",
                f"{row.memory_bytes / 1e6:,.0f} MB",
                f"{100 * row.accuracy.value:.1f}",
            )
            for row in found
        ],
    )
    print(f"\n{found[0].accuracy.n:,} pictures, {cores()} threads; ms: median of one picture")
