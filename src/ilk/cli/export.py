"""``ilk export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from ilk.cli.console import Count, print_json, print_table, progress, say
from ilk.errors import UsageError, shown
from ilk.recipe import seconds_of

if TYPE_CHECKING:
    from ilk.api.fastest import Choice
    from ilk.api.receipt import Receipt

AUTO = "auto"


def export(
    model: Path,
    /,
    *,
    format: str = AUTO,
    goal: Annotated[
        Literal["latency", "throughput", "size"] | None, Parameter(name="--for")
    ] = None,
    budget: str | None = None,
    output: Path | None = None,
    data: str | None = None,
    split: str | None = None,
    max_drop: float = 0.01,
    json: bool = False,
    workers: Count | None = None,
) -> None:
    """Write a trained model in another format, and hand it over only if it agrees.

    The file is run in its own runtime beside the model. If it disagrees, or loses more accuracy
    than allowed, nothing is left behind and the exit code is 4.

    Parameters
    ----------
    model
        A model.safetensors, or the run folder that holds it.
    format
        auto tries what runs on this machine and keeps the fastest. Or onnx, onnx-int8, openvino,
        openvino-bf16, openvino-int8, torchscript, torch, torch-aot, torch-int8, executorch,
        executorch-int8, coreml, litert, tensorrt, web: see docs/export.md, "Which format?".
    goal
        What auto looks for: latency of one picture (default), throughput, or size.
    budget
        The time that auto may take, about: 90s (default), 2m.
    output
        The file or folder to write; default: beside the model.
    data
        Folder, table or data set to calibrate int8 by and to verify on; default: what the model was
        trained with, or, if that has gone, pictures that its run kept.
    split
        Which of them to verify on: train, val, test or all; default: what was held out.
    max_drop
        How much accuracy a format that rounds (int8, bf16) may lose: 0.01 is one point.
    json
        Print the receipt as JSON.
    workers
        Threads that decode; default: one a core.
    """
    from ilk import api

    if format == AUTO:
        choice = api.export_fastest(
            model,
            goal=goal or "latency",
            **({} if budget is None else {"budget": _seconds(budget)}),
            output=output,
            data=data,
            split=split,
            max_drop=max_drop,
            workers=workers,
            progress=progress,
        )
        receipt = choice.receipt
        if not json:
            _print_table(choice)
    else:
        if goal is not None or budget is not None:
            raise UsageError(f"--for and --budget apply to --format auto only, not to {format}.")
        receipt = api.export(
            model,
            format,
            output=output,
            data=data,
            split=split,
            max_drop=max_drop,
            workers=workers,
        )
    if json:
        print_json((choice if format == AUTO else receipt).to_dict())
    else:
        _print_receipt(receipt)
    if receipt.accuracy and receipt.too_few(max_drop):
        say(
            f"{receipt.accuracy.n:,} pictures are too few to rule out a drop of "
            f"{100 * max_drop:g} points; give more with --data."
        )


def _seconds(budget: str) -> float:
    seconds = seconds_of(budget)
    if not seconds:
        raise UsageError(f"--budget {budget}: give a time such as 90s or 2m.")
    return seconds


def _print_table(choice: Choice) -> None:
    reference = choice.reference
    rows = [("PyTorch, float32", reference, "", "")]
    for tried in choice.candidates:
        receipt = tried.receipt
        megabytes = f"{receipt.size_bytes / 1e6:.1f}" if receipt else ""
        accuracy = f"{100 * receipt.accuracy.value:.1f}" if receipt and receipt.accuracy else ""
        if tried.speed:
            rows.append((tried.name, tried.speed, megabytes, accuracy))
    base = reference.latency_ms()["p50"]
    print_table(
        ("form", "ms a picture", "times as fast", "pictures a second", "MB", "accuracy"),
        [
            (
                name,
                f"{speed.latency_ms()['p50']:.2f}",
                f"{base / speed.latency_ms()['p50']:.1f}",
                f"{speed.throughput:,.0f}",
                megabytes,
                accuracy,
            )
            for name, speed, megabytes, accuracy in rows
        ],
    )
    for tried in choice.candidates:
        if not (tried.speed or tried.late):
            print(f"{tried.name}: {tried.reason}")
    late = [tried.name for tried in choice.candidates if tried.late]
    if late:
        print(f"not tried, as no time was left (see --budget): {', '.join(late)}")
    print()


def _print_receipt(receipt: Receipt) -> None:
    print(f"{receipt.format}  {shown(receipt.path)}  {receipt.size_bytes / 1e6:.1f} MB")
    if not receipt.executed:
        print(f"not executed: {receipt.reason}")
        return
    batches = ", ".join(map(str, receipt.batches))
    print(f"run in         {receipt.runs_in}, {batches} at once, on {receipt.pictures}")
    print(f"same answer    {receipt.top1_agreement}")
    print(f"accuracy       {receipt.accuracy}")
    print(f"the model's    {receipt.reference_accuracy}")
    print(f"probabilities  differ by {receipt.max_probability_difference:.2g} at most")
    print(f"SHA-256        {receipt.sha256}")
