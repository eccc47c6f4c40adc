"""Claim, on a GPU: CIFAR-10 to 94 % in seconds, and ResNet-50 at 224 px as fast as timm's own loop.

Without a GPU it runs a small form on the CPU, to show that it works; its numbers claim nothing.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import torch
from common import arguments, headline, ilk, scratch
from torch import nn

from ilk import recipes
from ilk.data.in_memory import from_arrays
from ilk.data.split import ensure_splits
from ilk.models.backbones import create
from ilk.runtime import pick_device
from ilk.training.cpu.precision import pick_precision
from ilk.training.examples import read_examples
from ilk.training.initial_weights import from_scratch, preprocess_for
from ilk.training.step import Step
from ilk.training.train_network import new_state


def main() -> None:
    options = arguments(__doc__ or "", seeds=3)
    headline("On a GPU")
    device = pick_device("auto")
    small = device == "cpu"
    name = "resnet18" if small else "resnet50"
    imgsz, batch, steps = (64, 16, 4) if small else (224, 256, 60)
    if small:
        print("Not measured: there is no GPU here. The small form, on the CPU:\n")
    else:
        print(f"{torch.cuda.get_device_name()}\n")
        cifar10(options.data / "cifar10", options.seeds)
    ours = ilk_rate(name, imgsz, batch, steps, device)
    peer = timm_rate(name, imgsz, batch, steps, device)
    print(f"| {name} at {imgsz} px, batch {batch} | pictures/s |\n|---|---|")
    print(f"| ilk's step, pixels in memory, augmented on the device | {ours:,.0f} |")
    print(f"| the step of timm's train script (AMP bf16, channels_last, SGD), same pixels on the "
          f"device | {peer:,.0f} |\n")  # fmt: skip


def cifar10(data: Path, seeds: int) -> None:
    """Train on CIFAR-10 with the recipe as it is."""
    with scratch() as folder:
        for seed in range(seeds):
            done = ilk(
                "train", str(data), "--recipe", "cifar10", "--seed", str(seed), "--json",
                "--runs", str(folder), "--name", f"seed{seed}", cache=folder / "cache",
            )  # fmt: skip
            record = json.loads(done.stdout)
            print(
                f"- CIFAR-10 (JPEG copies), seed {seed}: {100 * record['accuracy']['value']:.2f} % "
                f"in {record['training']['training_seconds']:.1f} s"
            )
    print()


def ilk_rate(name: str, imgsz: int, batch: int, steps: int, device: str) -> float:
    """Time ilk's own step on random pictures."""
    images = torch.randint(0, 256, (4 * batch, imgsz, imgsz, 3), dtype=torch.uint8).numpy()
    catalog = from_arrays(images, [str(i % 10) for i in range(len(images))], name="noise")
    catalog = ensure_splits(catalog.digested(), val_share=0.0, test_share=0.1, seed=0)
    recipe = recipes.load(
        mode="scratch", model=name, imgsz=imgsz, batch=batch, optimizer="sgd", device=device,
        tta_views="one",
    )  # fmt: skip
    preprocess = preprocess_for(catalog, recipe)
    examples = read_examples(catalog, preprocess, recipe)
    precision = pick_precision("auto", device)
    state = new_state(from_scratch(examples, preprocess, recipe), examples, recipe, precision)
    step = Step(recipe, precision, examples.targets[examples.train], 10, imgsz)
    step.begin_epoch(state)
    order = examples.train
    batches = [order[i : i + batch] for i in range(0, len(order) - batch + 1, batch)]
    times = []
    for i in range(steps):
        given = next(examples.load([batches[i % len(batches)]]))
        began = time.perf_counter()
        step(state, given, 0.1)
        synchronise(device)
        times.append(time.perf_counter() - began)
    return batch / statistics.median(times[2:])


def timm_rate(name: str, imgsz: int, batch: int, steps: int, device: str) -> float:
    """Time a step as timm's train script takes it with --amp --channels-last."""
    precision = pick_precision("auto", device)
    model = create(name, classes=10).train().to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    pixels = torch.randn(batch, 3, imgsz, imgsz, device=device)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    targets = torch.arange(batch, device=device) % 10
    times = []
    for _ in range(steps):
        began = time.perf_counter()
        with precision.autocast():
            loss = nn.functional.cross_entropy(model(pixels), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        synchronise(device)
        times.append(time.perf_counter() - began)
    return batch / statistics.median(times[2:])


def synchronise(device: str) -> None:
    """Wait for the device."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
