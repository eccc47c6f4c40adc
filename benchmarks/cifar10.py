"""Claim: CIFAR-10 from scratch on two cores, to 91.0 % in 450 s (JPEG copies of the pictures).

Also says where the time of a step goes, and what this machine's matrix products allow.
"""

from __future__ import annotations

import json
import statistics
import time

import torch
from common import arguments, headline, ilk, scratch, spread
from torch.profiler import profile

import ilk as package
from ilk import recipes
from ilk.data.split import ensure_splits
from ilk.models.bundle import Bundle
from ilk.models.network import build
from ilk.runtime import keep_freed_memory
from ilk.training.cpu.precision import pick_precision
from ilk.training.examples import read_examples
from ilk.training.initial_weights import from_scratch, preprocess_for
from ilk.training.outputs import outputs_of
from ilk.training.scoring import scores_of
from ilk.training.step import Step
from ilk.training.train_network import new_state

TRIALS = 12


def main() -> None:
    options = arguments(__doc__ or "", seeds=3)
    headline("CIFAR-10 from scratch")
    data = options.data / "cifar10"
    with scratch() as folder:
        seconds, accuracies, single = [], [], []
        for seed in range(options.seeds):
            done = ilk(
                "train", str(data), "--recipe", "cifar10", "--seed", str(seed), "--json",
                "--runs", str(folder), "--name", f"seed{seed}", cache=folder / "cache",
            )  # fmt: skip
            record = json.loads(done.stdout)
            seconds.append(record["training"]["training_seconds"])
            accuracies.append(100 * record["accuracy"]["value"])
            single.append(one_view(folder / f"seed{seed}" / "model.safetensors", data))
            print(
                f"- seed {seed}: {accuracies[-1]:.2f} % in {seconds[-1]:.0f} s of training, "
                f"{done.seconds:.0f} s with reading and testing; one view {single[-1]:.2f} %",
                flush=True,
            )
    print("\n| what | target | measured |\n|---|---|---|")
    print(
        f"| accuracy, six views, 10,000 test pictures | >= 91.0 % | "
        f"mean {statistics.mean(accuracies):.2f} %, {spread(accuracies, ' %')} |"
    )
    print(f"| accuracy, one view | | {spread(single, ' %')} |")
    print(f"| training | <= 450 s | {spread(seconds, ' s', 0)} |\n")
    where_time_goes(data)


def one_view(model, data) -> float:
    """Score a trained model without averaging over views."""
    bundle = Bundle.load(model)
    recipe = recipes.load("cifar10")
    examples = read_examples(dealt(data), bundle.spec.preprocess, recipe)
    network = build(bundle)
    network.views = "one"
    _, logits, _ = outputs_of(
        network, examples.source, examples.evaluated,
        precision=pick_precision("auto", "cpu"), batch=500,
    )  # fmt: skip
    return 100 * scores_of(logits, examples.targets[examples.evaluated]).accuracy


def dealt(data):
    """Return the data as a training sees it."""
    catalog = package.open_catalog(data).digested()
    return ensure_splits(catalog, val_share=0.0, test_share=0.25, seed=0)


def where_time_goes(data) -> None:
    """Profile some steps."""
    keep_freed_memory()
    recipe = recipes.load("cifar10")
    catalog = dealt(data)
    preprocess = preprocess_for(catalog, recipe)
    examples = read_examples(catalog, preprocess, recipe)
    precision = pick_precision("auto", "cpu")
    state = new_state(from_scratch(examples, preprocess, recipe), examples, recipe, precision)
    step = Step(recipe, precision, examples.targets[examples.train], 10, preprocess.imgsz)
    step.begin_epoch(state)
    batches = [examples.train[i * recipe.batch : (i + 1) * recipe.batch] for i in range(TRIALS)]
    times = []
    for batch in examples.load(batches):
        began = time.perf_counter()
        step(state, batch, 0.1)
        times.append(time.perf_counter() - began)
    with profile() as profiler:
        for batch in examples.load(batches[:3]):
            step(state, batch, 0.1)
    rows = sorted(profiler.key_averages(), key=lambda r: -r.self_cpu_time_total)
    total = sum(r.self_cpu_time_total for r in rows)
    rate = recipe.batch / statistics.median(times[1:])
    print(f"A step of {recipe.batch} pictures in {precision.name}: {rate:,.0f} pictures/s.\n")
    print("| operation | share of a step |\n|---|---|")
    for row in rows[:8]:
        print(f"| `{row.key}` | {100 * row.self_cpu_time_total / total:.0f} % |")
    print(f"\nA product of 2,048 x 2,048 matrices: {matrix_rate(precision):,.0f} GFLOP/s.\n")


def matrix_rate(precision) -> float:
    """Return the GFLOP/s of a large matrix product."""
    kind = torch.bfloat16 if precision.name == "bf16" else torch.float32
    a, b = torch.randn(2, 2048, 2048).to(kind)
    a @ b
    began = time.perf_counter()
    for _ in range(5):
        a @ b
    return 5 * 2 * 2048**3 / (time.perf_counter() - began) / 1e9


if __name__ == "__main__":
    main()
