"""Claim: each format that runs here agrees with the model; how large and how fast each is.

The default backbone, trained on cats_dogs, is exported in every format; those that ran are then
timed in interleaved rounds. What could not be run says why.
"""

from __future__ import annotations

from pathlib import Path

from common import arguments, headline, ilk, scratch

import ilk as package
from ilk.engines import Options
from ilk.errors import IlkError
from ilk.exporting.benchmark import BenchmarkResult
from ilk.exporting.receipt import Receipt
from ilk.formats import FORMATS


def main() -> None:
    options = arguments(__doc__)
    headline("Formats: the default backbone in each", "onnx", "onnxruntime", "nncf", "torchao",
             "executorch", "coremltools")  # fmt: skip
    with scratch() as folder:
        ilk("train", str(options.data / "cats_dogs"), "--runs", str(folder), "--name", "cd")
        report(folder / "cd")


def report(run: Path) -> None:
    """Export in every format, time what runs, and print the table."""
    receipts: list[Receipt] = []
    missing: dict[str, str] = {}
    for name in (form.name for form in FORMATS):
        try:
            receipts.append(package.export(run, name))
        except IlkError as error:
            missing[name] = str(error)
    ran = [receipt for receipt in receipts if receipt.executed]
    missing |= {r.format: f"not executed: {r.reason}" for r in receipts if not r.executed}
    timed = [run, *(r.path for r in ran if r.format != "web")]
    found = package.benchmark(timed, options=Options(engine="pytorch", trust=True))
    rows = {row.artefact: row for row in found}
    model, n = found[0], found[0].accuracy.n
    print(f"Latency: median of one picture; throughput at the best of batches of 1, 8 and 32; "
          f"accuracy on {n} pictures.\n")  # fmt: skip
    print("| format | one picture, ms | a second | from JPEG, a second | MB | to first answer, s | "
          "memory, MB | accuracy | same answer | largest difference in probability |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    print(f"| the model, PyTorch, float32 or bf16 |{figures(model)} | {model.accuracy} | | |")
    for receipt in ran:
        row = rows.get(receipt.path)
        print(
            f"| {receipt.format} |{figures(row) if row else ' |' * 5} "
            f"| {100 * receipt.accuracy.value:.1f} % | {100 * receipt.top1_agreement.value:.1f} % "
            f"| {receipt.max_probability_difference:.1g} |"
        )
    print()
    for name, reason in missing.items():
        print(f"- {name}: {reason}")


def figures(row: BenchmarkResult) -> str:
    """Return the timed columns."""
    return (
        f" {row.speed.latency_ms()['p50']:.1f} | {row.speed.throughput:,.0f} | "
        f"{row.speed.end_to_end:,.0f} | {row.size_bytes / 1e6:.1f} | {row.load_s:.1f} | "
        f"{row.memory_bytes / 1e6:,.0f}"
    )


if __name__ == "__main__":
    main()
