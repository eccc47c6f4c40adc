"""Claim: ilk's own augmentation is no slower than torchvision v2, timm.data and kornia.

The same recipes, with parameters of each picture's own, on the same uint8 pictures, on two cores:
ilk and kornia a batch at a time with two threads; torchvision picture by picture (its transforms
draw once for a whole batch), with two threads or, as a DataLoader would, in two processes of one
thread each; timm on PIL images in two processes. Workers get and give their pictures through
shared memory. kornia's TrivialAugment draws one operation for the whole batch: here its operations
are applied to groups of pictures, as ilk does. timm has no TrivialAugment: its RandAugment of one
operation and a uniform magnitude stands in.

kornia wants its own environment: one with ilk's dependencies and `pip install --no-deps
kornia==0.9.0 kornia-rs==0.2.0`; without it, it is left out.

Where other programs run beside it, `OMP_WAIT_POLICY=PASSIVE` keeps torch's threads from spinning
while the other one waits for a core; processor time in one thread bears them best.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as processes
from augmenters import ALPHAS, CLASSES, Way, all_ways, operations
from common import headline
from torch import Tensor
from torch.nn.functional import interpolate

from ilk.runtime import keep_freed_memory

SHAPES = ((64, 224), (128, 32))
CORES, LEAST_SECONDS = 2, 0.1
RECIPES = {
    "crops": "random resized crops, flips",
    "light": "shifts, flips (`--mode scratch`)",
    "trivial": "TrivialAugment, flips (`--mode finetune`)",
    "mixup": "mixup",
    "cutmix": "CutMix",
    "all": "TrivialAugment, flips, then mixup or CutMix",
}
Values = dict[tuple[str, str], list[float]]  # by recipe and way


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    headline("Augmentation: ilk, torchvision v2, timm.data, kornia", "torchvision", "kornia")
    prepare(CORES)
    ways = all_ways()
    context = processes.get_context("spawn")
    with context.Pool(CORES, prepare, (1,)) as pool:
        for number, size in SHAPES:
            on_two_cores(ways, number, size, options.rounds, pool)
    torch.set_num_threads(1)
    for number, size in SHAPES:
        on_one_core(ways, number, size, options.rounds)
    kernels(options.rounds)
    torch.set_num_threads(CORES)
    exactness(ways, context)


def prepare(threads: int) -> None:
    """Set a process up as a training of ilk does, which quickens all of them."""
    keep_freed_memory()
    torch.set_num_threads(threads)


def on_two_cores(ways: dict[str, Way], number: int, size: int, rounds: int, pool: Any) -> None:
    batch, targets = pictures(number, size)

    def run(way: Way, recipe: str, seed: int) -> None:
        augmented(way, batch, targets, recipe, seed, pool if way.workers else None)

    print(f"{number} pictures of {size} px: pictures/s on two cores, median of {rounds} "
          "interleaved rounds (range)\n")  # fmt: skip
    took = measured(ways, run, rounds, time.perf_counter)
    table(ways, took, lambda seconds: number / seconds)


def on_one_core(ways: dict[str, Way], number: int, size: int, rounds: int) -> None:
    batch, targets = pictures(number, size)

    def run(way: Way, recipe: str, seed: int) -> None:
        augmented(way, batch, targets, recipe, seed)

    print(f"{number} pictures of {size} px: microseconds of processor time a picture, in one "
          f"thread, median of {rounds} interleaved rounds (range)\n")  # fmt: skip
    took = measured(ways, run, rounds, time.process_time)
    table(ways, took, lambda seconds: 1e6 * seconds / number)


def augmented(
    way: Way, batch: Tensor, targets: Tensor, recipe: str, seed: int, pool: Any = None
) -> Tensor:
    """Augment a batch, in the workers of the pool if there is one."""
    if recipe not in ("mixup", "cutmix"):
        alone = "trivial" if recipe == "all" else recipe
        if pool:
            out = shared(batch.shape)
            halves = zip(batch.chunk(CORES), out.chunk(CORES), strict=True)
            jobs = [(way, *half, alone, CORES * seed + i) for i, half in enumerate(halves)]
            pool.starmap(work, jobs, chunksize=1)
            batch = out
        else:
            with seeded(seed):
                batch = way.changed(batch, alone, seed)
    if recipe in ALPHAS:
        with seeded(seed):
            batch = way.mixed(batch, targets, recipe, seed)
    return batch


def work(way: Way, batch: Tensor, out: Tensor, recipe: str, seed: int) -> None:
    with seeded(seed):
        out.copy_(way.changed(batch, recipe, seed))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed all that has a hidden state, and put it back afterwards."""
    before = states()
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])


def states() -> tuple[Any, ...]:
    return torch.get_rng_state(), random.getstate(), np.random.get_state()


def measured(
    ways: dict[str, Way],
    run: Callable[[Way, str, int], None],
    rounds: int,
    clock: Callable[[], float],
) -> Values:
    """Return seconds a batch by recipe and way, one for each round; a first round warms up."""
    took: Values = {}
    for turn in range(rounds + 1):
        for recipe in RECIPES:
            for name, way in ways.items():
                if recipe in ("mixup", "cutmix") and way.workers and "timm" not in name:
                    continue  # the main process mixes, as without workers
                began, done = clock(), 0
                while not done or (turn and clock() - began < LEAST_SECONDS):
                    run(way, recipe, 1000 * turn + done)
                    done += 1
                if turn:
                    took.setdefault((recipe, name), []).append((clock() - began) / done)
    return took


def table(ways: dict[str, Way], values: Values, scale: Callable[[float], float]) -> None:
    print("| | " + " | ".join(ways) + " |\n" + "|---" * (len(ways) + 1) + "|")
    for recipe, words in RECIPES.items():
        cells = [shown([scale(v) for v in values.get((recipe, way), ())]) for way in ways]
        print(f"| {words} | " + " | ".join(cells) + " |", flush=True)
    print()


def shown(values: Sequence[float]) -> str:
    if not values:
        return ""
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


@cache
def pictures(number: int, size: int) -> tuple[Tensor, Tensor]:
    """Return uint8 [N, H, W, 3], smooth with some noise, in shared memory; and int64 [N]."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(number, 3, 8, 8, generator=draw)
    smooth = interpolate(coarse, (size, size), mode="bicubic") * 255
    noisy = smooth + 12 * torch.randn(smooth.shape, generator=draw)
    batch = noisy.clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().share_memory_()
    return batch, torch.arange(number) % CLASSES


@cache
def shared(shape: torch.Size) -> Tensor:
    return torch.empty(shape, dtype=torch.uint8).share_memory_()


# --- exactness, memory, and single kernels --------------------------------------------------------


def exactness(ways: dict[str, Way], context: Any) -> None:
    """Print what of repeating a step holds, and its memory: TrivialAugment, flips and mixing."""
    print(f"{RECIPES['all']}, 64 pictures of 224 px: does a step give the same bits?\n")
    print("| | again, after other steps | in a new process | with one thread as with two | "
          "leaves global random state alone | peak memory, in one process |")  # fmt: skip
    print("|---|---|---|---|---|---|")
    for name, way in ways.items():
        first = digest(way)
        for other in range(3):
            digest(way, other)
        again = digest(way) == first
        torch.set_num_threads(1)
        single = digest(way) == first
        torch.set_num_threads(CORES)
        before = states()
        way.changed(pictures(*SHAPES[0])[0], "trivial", 7)
        alone = repr(before) == repr(states()) and torch.equal(before[0], torch.get_rng_state())
        with context.Pool(1, torch.set_num_threads, (CORES,)) as pool:
            fresh, peak = pool.apply(cold, (way,))
        answers = ["yes" if it else "no" for it in (again, fresh == first, single, alone)]
        print(f"| {name} | {' | '.join(answers)} | {peak / 2**20:.0f} MiB |", flush=True)
    print()


def digest(way: Way, seed: int = 7) -> str:
    batch = augmented(way, *pictures(*SHAPES[0]), "all", seed)
    return hashlib.sha256(batch.contiguous().numpy().tobytes()).hexdigest()


def cold(way: Way) -> tuple[str, int]:
    """Return a step's digest, and the most bytes of memory above those before it, of five."""
    batch, targets = pictures(*SHAPES[0])
    for seed in range(5):  # imports and threads are no part of it
        augmented(way, batch[:4], targets[:4], "all", seed)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    for seed in range(5):
        augmented(way, batch, targets, "all", seed)
    peak = resident("VmHWM") - before
    return digest(way), peak


def resident(which: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(which))


def kernels(rounds: int) -> None:
    """Print how long single operations take that a library has for a batch, too."""
    # As many as TrivialAugment gives an operation.
    tests = operations(pictures(*SHAPES[0])[0][:5])
    print(f"5 pictures of 224 px: milliseconds of processor time, in one thread, median of "
          f"{10 * rounds} interleaved rounds (range)")  # fmt: skip
    print("\n| operation | by | ms |\n|---|---|---|")
    for operation, sides in tests.items():
        took: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(10 * rounds):
            for side, run in sides.items():
                began = time.process_time()
                run()
                took[side].append(1e3 * (time.process_time() - began))
        for side, values in took.items():
            low, high = min(values), max(values)
            cell = f"{statistics.median(values):.1f} ({low:.1f} to {high:.1f})"
            print(f"| {operation} | {side} | {cell} |")
    print()


if __name__ == "__main__":
    main()
