"""Claim: the probe that fine-tuning keeps is the default's, whatever was held out to choose by.

Data without splits of its own, as both sets are when their folders are put together; the test
pictures of all ways are the same. "On train alone" is what fine-tuning kept before: it had not
learned from the pictures that the choice was made by.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
from common import arguments, headline, scratch

from ilk import recipes
from ilk.data.split import to_learn_from
from ilk.evaluation.comparison import compared
from ilk.training.prepare_data import prepare_data
from ilk.training.probe import train_probe

SETS = ("clothing", "cats_dogs")


def main() -> None:
    options = arguments(__doc__ or "", seeds=5)
    headline("The probe that fine-tuning keeps, and the default")
    print(
        "| data | seed | test pictures | default | kept | on train alone | default and kept | ",
        end="",
    )
    print("default over train alone, points (95 %), McNemar's p |")
    print("|---|---|---|---|---|---|---|---|")
    with scratch() as folder:
        for name in SETS:
            data = together(options.data / name, folder / name)
            differences = [row(data, seed) for seed in range(options.seeds)]
            spread = statistics.stdev(differences) if len(differences) > 1 else float("nan")
            print(
                f"| {name} | all | | | | | | mean {100 * statistics.mean(differences):+.2f} points "
                f"(standard deviation {100 * spread:.2f}, n = {len(differences)}) |", flush=True,
            )  # fmt: skip
    print()


def together(data: Path, folder: Path) -> Path:
    """Link the pictures of all splits into one folder per class."""
    files = sorted(f for f in data.rglob("*") if f.suffix.lower() in {".jpg", ".jpeg", ".png"})
    for file in files:
        place = folder / file.parent.name
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{file.parents[1].name}-{file.name}").symlink_to(file)
    return folder


def row(data: Path, seed: int) -> float:
    """Solve the three probes and print their scores; return default less train alone."""
    default = recipes.load("probe", seed=seed)
    tuned = recipes.load("finetune", seed=seed)
    catalog = prepare_data(data, tuned, {})
    right = {
        "default": answers(prepare_data(data, default, {}), default),
        "kept": answers(to_learn_from(catalog), tuned),
        "alone": answers(catalog, tuned),
    }
    assert right["default"].keys() == right["kept"].keys() == right["alone"].keys()
    a, b, c = (np.array([found[p] for p in right["default"]]) for found in right.values())
    found, gain = compared(c, a), compared(a, b)
    gap = found.difference
    print(
        f"| {data.name} | {seed} | {len(a)} | {100 * a.mean():.2f} % | {100 * b.mean():.2f} % | "
        f"{100 * c.mean():.2f} % | {gain.only_a + gain.only_b} pictures differ | "
        f"{100 * gap.value:+.2f} ({100 * gap.low:+.2f} to {100 * gap.high:+.2f}), "
        f"p = {found.p_value:.2f} |",
        flush=True,
    )  # fmt: skip
    return float(a.mean() - c.mean())


def answers(catalog, recipe) -> dict[str, bool]:
    """Return for each test picture whether it is classified correctly."""
    result = train_probe(catalog, recipe)
    outputs, classes = result.evaluated, result.bundle.spec.classes
    labels = [classes[k] for k in outputs.logits.argmax(axis=1)]
    return {p.path: p.label == label for p, label in zip(outputs.pictures, labels, strict=True)}


if __name__ == "__main__":
    main()
