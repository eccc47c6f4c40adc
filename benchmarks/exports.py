"""Claims: the fastest form is found, is many times eager PyTorch, and no slower than the field's.

Two networks: the default backbone, trained on cats_dogs, and ResNet-18 with random weights, whose
answers are worth nothing, but whose speed is: for it, any drop is let pass. Each side runs in the
same rounds of one process. The peers get their input normalised already, in the layout that they
want; ilk's files get raw pixels. `--only resnet18` or `--only tf_efficientnet_lite0` takes one.
Needs onnxslim, for what Ultralytics does.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import torch
from common import headline, ilk, scratch
from peers import Guide, peers
from safetensors.torch import save_file

import ilk as package
from ilk.exporting.benchmark import FILES, in_memory
from ilk.exporting.fastest import Choice
from ilk.exporting.reference import ReferenceModel
from ilk.exporting.timing import Speed, benchmark_interleaved
from ilk.models.backbones import create

DEFAULT, RESNET = "tf_efficientnet_lite0", "resnet18"
TARGETS = {DEFAULT: 9.0, RESNET: 12.0}
ROUNDS = 9
EAGER, GUIDE = "PyTorch, eager, float32", "the guide's predict"
PEERS: set[str] = set()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("ILK_TEST_DATA"),
                        required="ILK_TEST_DATA" not in os.environ)  # fmt: skip
    parser.add_argument("--only", choices=(DEFAULT, RESNET))
    options = parser.parse_args()
    data = Path(options.data).resolve() / "cats_dogs"
    headline("Exports: the fastest form beside eager PyTorch and the field's", "onnx",
             "onnxruntime", "onnxslim", "nncf")  # fmt: skip
    with scratch() as folder:
        for name in [options.only] if options.only else (DEFAULT, RESNET):
            race_of(name, trained(name, data, folder), folder)


def trained(name: str, data: Path, folder: Path) -> Path:
    """Train the head of a backbone; ResNet-18's weights are random."""
    more = []
    if name == RESNET:
        torch.manual_seed(0)
        save_file(create(name, None).state_dict(), folder / "random.safetensors")
        more = ["--weights", str(folder / "random.safetensors")]
    ilk("train", str(data), "--model", name, "--runs", str(folder), "--name", name, *more)
    return folder / name


def race_of(name: str, run: Path, folder: Path) -> None:
    """Export in every form, choose the fastest, and time it beside the peers."""
    began = time.perf_counter()
    # Random features answer at random, and rounding turns such answers over.
    drop = 0.01 if name == DEFAULT else 1.0
    latency = package.export_fastest(run, max_drop=drop)
    seconds = time.perf_counter() - began
    throughput = package.export_fastest(
        run, goal="throughput", max_drop=drop, output=folder / f"{name}-many"
    )
    reference = ReferenceModel.open(run)
    torch._dynamo.reset()  # or the limit of recompilations would be shared with the network before
    others = peers(reference.bundle, folder)
    PEERS.update(others)
    sides = {
        EAGER: reference.classifier,
        f"ilk, latency: {latency.chosen.name}": package.load(latency.receipt.path),
        f"ilk, throughput: {throughput.chosen.name}": package.load(throughput.receipt.path),
        **others,
        GUIDE: Guide(reference.bundle),
    }
    files = in_memory(reference.pictures.files[:FILES])
    pixels = reference.pictures.pixels
    speeds = dict(
        zip(sides, benchmark_interleaved(list(sides.values()), pixels, files, ROUNDS), strict=True)
    )
    report(name, speeds, latency, seconds)


def report(name: str, speeds: dict[str, Speed], choice: Choice, seconds: float) -> None:
    """Print the table of one network, and whether its targets are met."""
    eager = speeds[EAGER]
    print(f"**{name}**: {len(choice.candidates)} forms tried in {seconds:.0f} s; ")
    for tried in choice.candidates:
        if tried.reason:
            print(f"{tried.name}: {tried.reason}; ")
    receipt = choice.receipt
    change = receipt.drop.difference
    print(
        f"accuracy of {choice.chosen.name} {receipt.accuracy}, less the model's "
        f"{100 * change.value:+.1f} points ({100 * change.low:+.1f} to {100 * change.high:+.1f}).\n"
    )
    print("| side | one picture, ms (p50, p95) | times eager | a second, batches of 32 | "
          "times eager | from JPEG, a second |")  # fmt: skip
    print("|---|---|---|---|---|---|")
    for side, speed in speeds.items():
        ms = speed.latency_ms()
        ratio = eager.latency_ms()["p50"] / ms["p50"]
        many = speed.throughputs[32]
        whole = f"{speed.end_to_end:,.0f}" if side not in PEERS else ""
        print(
            f"| {side} | {ms['p50']:.2f}, {ms['p95']:.2f} | {ratio:.1f} | {many:,.0f} | "
            f"{many / eager.throughputs[32]:.1f} | {whole} |"
        )
    print()
    verdicts(name, speeds, seconds)


def verdicts(name: str, speeds: dict[str, Speed], seconds: float) -> None:
    """Print which targets are met."""
    latency, throughput = (
        next(speed for side, speed in speeds.items() if side.startswith(f"ilk, {goal}"))
        for goal in ("latency", "throughput")
    )
    eager, guide = speeds[EAGER], speeds[GUIDE]
    best = min(speed.latency_ms()["p50"] for side, speed in speeds.items() if side in PEERS)
    tell("latency over eager", eager.latency_ms()["p50"] / latency.latency_ms()["p50"],
         TARGETS[name])  # fmt: skip
    tell("throughput over eager, batches of 32", throughput.throughputs[32] / eager.throughputs[32],
         20.0 if name == RESNET else None)  # fmt: skip
    tell("from JPEG over the guide's predict", throughput.end_to_end / guide.end_to_end, 8.0)
    tell("latency over the best of the field", best / latency.latency_ms()["p50"], 0.95)
    if name == DEFAULT:
        met = "met" if seconds <= 90 else "**missed**"
        print(f"- auto took {seconds:.0f} s; target at most 90 s: {met}")
    print()


def tell(what: str, ratio: float, target: float | None) -> None:
    if target is None:
        print(f"- {what}: {ratio:.1f} times")
    else:
        met = "met" if ratio >= target else "**missed**"
        print(f"- {what}: {ratio:.2f} times; target at least {target:g}: {met}")


if __name__ == "__main__":
    main()
