"""``ilk export``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ilk.cli.console import Count, print_json, print_table, say
from ilk.errors import UsageError
from ilk.formats import AUTO, FORMATS, format_named
from ilk.progress import heartbeat
from ilk.recipe import seconds_of
from ilk.text import escaped

if TYPE_CHECKING:
    from ilk.exporting.fastest import Choice
    from ilk.exporting.receipt import Receipt
    from ilk.exporting.timing import Speed

FORMAT_HELP = (
    "auto tries the formats that run on this machine and keeps the fastest. Or one of "
    f"{', '.join(form.name for form in FORMATS)}: see docs/export.md, 'Which format?'."
)


def export(
    model: Path,
    /,
    *,
    format: Annotated[str, Parameter(help=FORMAT_HELP)] = AUTO,
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
    opset: int | None = None,
    half: bool = False,
    imgsz: int | None = None,
) -> None:
    """Write a trained model in another format, and keep it only if it agrees with the model.

    The file is run in its own runtime and compared with the model. If it disagrees, or loses more
    accuracy than allowed, nothing is written and the exit code is 4.

    Parameters
    ----------
    model
        A model.safetensors, or the run folder that holds it.
    goal
        What auto optimizes: latency of one picture (default), throughput, or size.
    budget
        The approximate time that auto may take for converting and timing: 75s (default), 10m.
    output
        The file or folder to write; default: beside the model.
    data
        Folder, table or data set to calibrate int8 with and to verify on; default: the training's
        pictures, or the ones that its run kept if those are gone.
    split
        Which of them to verify on: train, val, test or all; default: the held-out ones.
    max_drop
        How much accuracy a reduced-precision format (int8, bf16) may lose: 0.01 is one point.
    json
        Print the receipt as JSON.
    workers
        Decoding threads; default: one a core.
    opset
        The opset of an ONNX file, 18 to 23; default: 20.
    half
        ONNX in float16: half the size, made for GPUs and phones.
    imgsz
        Side of the square input in pixels; default: as in training.
    """
    import ilk

    places: dict[str, Any] = {"output": output, "data": data, "split": split, "workers": workers}
    options = {"opset": opset, "half": half, "imgsz": imgsz}
    if format == AUTO:
        for name in (name for name, value in options.items() if value):
            raise UsageError(f"--{name} needs a --format: auto tries formats as they are.")
        given: dict[str, Any] = {} if budget is None else {"budget": _seconds(budget)}
        with heartbeat("exporting") as progress:
            choice = ilk.export_fastest(
                model,
                goal=goal or "latency",
                **given,
                **places,
                max_drop=max_drop,
                progress=progress,
            )
        receipt = choice.receipt
        if not json:
            _print_table(choice)
    else:
        if goal is not None or budget is not None:
            raise UsageError(f"--for and --budget apply to --format auto only, not to {format}.")
        with heartbeat("exporting") as progress:
            receipt = ilk.export(
                model,
                format,
                **places,
                max_drop=max_drop,
                opset=opset,
                half=half,
                imgsz=imgsz,
                progress=progress,
            )
    if json:
        print_json((choice if format == AUTO else receipt).to_dict())
    else:
        _print_receipt(receipt)
    if receipt.accuracy and receipt.too_few(max_drop):
        say(
            f"{receipt.accuracy.n:,} pictures are too few to rule out a drop in accuracy of more "
            f"than {max_drop:g}; give more with --data."
        )


def _seconds(budget: str) -> float:
    seconds = seconds_of(budget)
    if not seconds:
        raise UsageError(f"--budget {budget}: give a time such as 90s or 2m.")
    return seconds


def _print_table(choice: Choice) -> None:
    base = choice.reference.latency_ms()["p50"]

    def row(name: str, speed: Speed, megabytes: str, accuracy: str) -> tuple[str, ...]:
        ms = speed.latency_ms()["p50"]
        return (name, f"{ms:.2f}", f"{base / ms:.1f}", f"{speed.throughput:,.0f}", megabytes,
                accuracy)  # fmt: skip

    receipt = choice.receipt
    own = f"{100 * receipt.reference_accuracy.value:.1f} %" if receipt.reference_accuracy else ""
    rows = [
        row("PyTorch, float32", choice.reference, "", own),
        row("ilk, unexported", choice.current, "", ""),
    ]
    for tried in choice.candidates:
        found = tried.receipt
        if tried.speed and found and found.accuracy:
            accuracy = f"{100 * found.accuracy.value:.1f} %"
            rows.append(row(tried.name, tried.speed, f"{found.size_bytes / 1e6:.1f}", accuracy))
    print_table(("format", "ms", "speed-up", "pictures/s", "MB", "accuracy"), rows)
    print("ms: latency of one picture; speed-up: over PyTorch; pictures/s: in the best batches")
    for tried in choice.candidates:
        if not (tried.speed or tried.out_of_time):
            print(tried.reason if tried.failed_gate else f"{tried.name}: {tried.reason}")
    skipped = [tried.name for tried in choice.candidates if tried.out_of_time]
    if skipped:
        print(f"not tried, because no time was left (see --budget): {', '.join(skipped)}")
    print()


def _print_receipt(receipt: Receipt) -> None:
    print(f"{receipt.format}  {escaped(receipt.path)}  {receipt.size_bytes / 1e6:.1f} MB")
    if not receipt.executed:
        print(f"not executed: {receipt.reason}")
        say("NOT VERIFIED: this file has not been run. See the reason above.")
        return
    for name, value in receipt.options.items():
        print(f"{'--' + name:<14} {value}")
    *few, last = map(str, receipt.batches)
    batches = f"{', '.join(few)} and {last}" if few else last
    print(f"verified in    {receipt.runs_in}, in batches of {batches}")
    print(f"on             {receipt.pictures}")
    print(f"top-1 agrees   {receipt.top1_agreement}")
    print(f"accuracy       {receipt.accuracy}")
    print(f"the model's    {receipt.reference_accuracy}")
    print(f"probabilities  differ by at most {receipt.max_probability_difference:.2g}")
    if receipt.from_jpeg:
        print(f"from JPEG      {receipt.from_jpeg}")
    print(f"SHA-256        {receipt.sha256}")
    path = shlex.quote(escaped(receipt.path))
    print(f"use it         {format_named(receipt.format).use.format(path=path)}")
