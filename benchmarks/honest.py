"""Claims: probabilities are honest, sets keep their promise, strangers are told, labels doubted.

In: cats_dogs by the probe, and CIFAR-10 by its own recipe (1,000 training pictures held out).
`--cifar10 RUN` takes a CIFAR-10 model that is trained already. Everything that a score could be
tuned by comes from pictures held out from the training; what is reported, from test pictures.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
from common import headline, ilk, scratch, spread
from scipy.stats import binom

import ilk as package
from ilk.evaluation import conformal
from ilk.evaluation.intervals import wilson
from ilk.evaluation.label_issues import label_issues
from ilk.evaluation.mistakes import CONTRADICTED
from ilk.evaluation.ood import auroc
from ilk.inference.novelty import entropies

SPLITS, PROMISED = 20, 0.9
FLIPPED, LOOKED_AT = 0.05, 0.10
MOST_STRANGERS = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("ILK_TEST_DATA"),
        required="ILK_TEST_DATA" not in os.environ,
    )
    parser.add_argument("--cifar10", type=Path, help="a run that is trained already")
    options = parser.parse_args()
    data = Path(options.data).resolve()
    headline("Honest probabilities, sets, strangers and doubted labels")
    with scratch() as folder:
        if options.cifar10 is None:
            options.cifar10 = folder / "cifar10"
            ilk("train", str(data / "cifar10"), "--recipe", "cifar10",
                "--runs", str(folder), "--name", "cifar10")  # fmt: skip
        ilk("train", str(data / "cats_dogs"), "--runs", str(folder), "--name", "cats_dogs")
        models = {name: package.load(path) for name, path in
                  (("cifar10", options.cifar10), ("cats_dogs", folder / "cats_dogs"))}  # fmt: skip
        scores = {name: package.evaluate(m, data / name) for name, m in models.items()}
        calibration(models, scores)
        promises(scores["cifar10"])
        strangers(models, scores, data)
        doubts(scores["cats_dogs"])
        times(options.cifar10, data / "cifar10", folder)


def calibration(models, scores) -> None:
    """Print the expected calibration error before and after temperature scaling."""
    print("| model | test pictures | temperature | error before | error after | log loss |")
    print("|---|---|---|---|---|---|")
    for name, found in scores.items():
        c = found.confidence
        print(
            f"| {name} | {found.n:,} | {c.temperature:.3f}, by "
            f"{len(models[name].records.targets):,} held out | {percent(c.before.error)} | "
            f"{percent(c.after.error)} | {c.log_loss.value:.4f} |"
        )
    error = scores["cifar10"].confidence.after.error.value
    print(f"\ncifar10: target at most 1.0 %, {'met' if error <= 0.01 else '**missed**'}.\n")


def promises(found) -> None:
    """Print how often sets hold the true class, over random halves of the test pictures."""
    print("| method | promised | held, over random splits | within the binomial interval | size |")
    print("|---|---|---|---|---|")
    p, targets, half = found.probabilities, found.targets, found.n // 2
    for method in ("lac", "raps"):
        held, inside, sizes = [], 0, []
        for seed in range(SPLITS):
            order = np.random.default_rng(seed).permutation(found.n)
            choose, test = order[:half], order[half:]
            limit = conformal.limit(p[choose], targets[choose], PROMISED, method)
            kept = conformal.sets(p[test], limit, method)
            hits = int(kept[np.arange(len(test)), targets[test]].sum())
            held.append(100 * hits / len(test))
            low, high = binom.interval(0.95, len(test), PROMISED)
            inside += low <= hits <= high
            sizes.append(kept.sum(axis=1).mean())
        print(
            f"| {method} | {PROMISED:.0%} | mean {np.mean(held):.2f} %, {spread(held, ' %')} "
            f"| {inside} of {SPLITS} | {spread(sizes)} |"
        )
    low, high = (100 * v / (found.n - half) for v in binom.interval(0.95, found.n - half, PROMISED))
    print(f"\nThe binomial interval: {low:.2f} to {high:.2f} %.\n")
    for scores in found.sets:
        print(
            f"As shipped, {scores.method} by {scores.held_out:,} pictures held out from the "
            f"training: {percent(scores.found.overall)}.\n"
        )


def strangers(models, scores, data: Path) -> None:
    """Print by how much strangers are told from the classes, by several scores."""
    outside = {
        "cats_dogs": ("ants_bees", "cifar10"),
        "cifar10": ("digits", "ants_bees"),
    }
    names = ("maximum probability", "energy", "entropy", "nearest neighbours", "ilk")
    print(f"| in | out | {' | '.join(names)} | called unknown, of out | of in |")
    print("|---|---|" + "---|" * (len(names) + 2))
    areas = []
    for inside, others in outside.items():
        usual = measured(models[inside], scores[inside].pictures)
        for other in others:
            strange = measured(models[inside], some(other, data))
            row = [auroc(usual[name], strange[name]).value for name in names]
            areas.append(row)
            limit = models[inside].spec.novelty.threshold
            caught = wilson(int((strange["ilk"] > limit).sum()), len(strange["ilk"]))
            false = wilson(int((usual["ilk"] > limit).sum()), len(usual["ilk"]))
            print(
                f"| {inside} | {other} | {' | '.join(f'{v:.4f}' for v in row)} "
                f"| {percent(caught)} | {percent(false)} |"
            )
    means = np.mean(areas, axis=0)
    print(f"| mean | | {' | '.join(f'{v:.4f}' for v in means)} | | |\n")
    best = "met" if means[-1] >= means.max() else "**missed**"
    worst = any(row[-1] == min(row) for row in areas)
    print(
        f"ilk's is best on average: {best}; never the worst: {'**missed**' if worst else 'met'}.\n"
    )


def some(name: str, data: Path) -> list:
    """Return pictures of a data set, test pictures where there are such."""
    path = data / name
    catalog = package.open_catalog(path if path.is_dir() else name)
    pictures = catalog.of("test") or catalog.pictures
    order = np.random.default_rng(0).permutation(len(pictures))[:MOST_STRANGERS]
    return [pictures[i] for i in order]


def measured(model, pictures) -> dict:
    """Return the scores of pictures by name; more is stranger."""
    from ilk.data.stream import Stream

    features, logits = [], []
    for chunk in Stream(pictures, model.spec.preprocess, batch=32):
        if chunk.indices:
            outputs = model.engine.run(chunk.pixels)
            features.append(outputs.features)
            logits.append(outputs.logits)
    features, logits = np.concatenate(features), np.concatenate(logits)
    detector = model.records.novelty
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return {
        "maximum probability": -(shifted / shifted.sum(axis=1, keepdims=True)).max(axis=1),
        "energy": -logits.max(axis=1) - np.log(shifted.sum(axis=1)),
        "entropy": entropies(logits),
        "nearest neighbours": detector.distances(features),
        "ilk": detector.scores(features, logits),
    }


def doubts(found) -> None:
    """Print how many labels of test pictures, made wrong, are doubted first."""
    shares = []
    for seed in range(5):
        draw = np.random.default_rng(seed)
        wrong = draw.permutation(found.n)[: round(FLIPPED * found.n)]
        targets = found.targets.copy()
        targets[wrong] = (targets[wrong] + 1) % len(found.classes)
        first = label_issues(found.probabilities, targets, CONTRADICTED).ranking[
            : round(LOOKED_AT * found.n)
        ]
        shares.append(100 * np.isin(wrong, first).mean())
    verdict = "met" if min(shares) >= 90 else "**missed**"
    print(
        f"cats_dogs: {FLIPPED:.0%} of the labels of the test split made wrong; in the "
        f"first {LOOKED_AT:.0%} of the list: {spread(shares, ' %', 1)}; target at least 90 %, "
        f"{verdict}.\n"
    )


def times(model: Path, data: Path, folder: Path) -> None:
    """Print what an evaluation with everything takes beside accuracy alone."""
    bare = [accuracy_alone(model, data) for _ in range(3)]
    whole = [
        ilk("evaluate", str(model), str(data), "--runs", str(folder), "--json").seconds
        for _ in range(3)
    ]
    ratio = np.median(whole) / np.median(bare)
    verdict = "met" if ratio <= 1.5 else "**missed**"
    print("| 10,000 test pictures of CIFAR-10, cold process | seconds |\n|---|---|")
    print(f"| accuracy alone | {spread(bare)} |\n| `ilk evaluate` | {spread(whole)} |\n")
    print(f"**Ratio: {ratio:.2f}** (target: at most 1.5), {verdict}.\n")


def accuracy_alone(model: Path, data: Path) -> float:
    """Return the seconds that a process takes to name all test pictures, and count hits."""
    import sys

    from common import run_process

    code = (
        "import sys, json, ilk\n"
        "c = ilk.open_catalog(sys.argv[2]); pictures = c.of('test')\n"
        "named = ilk.load(sys.argv[1]).predict(pictures).labels\n"
        "print(json.dumps(sum(a == p.label for a, p in zip(named, pictures)) / len(pictures)))\n"
    )
    done = run_process([sys.executable, "-c", code, str(model), str(data)])
    assert 0 < json.loads(done.stdout) <= 1
    return done.seconds


def percent(m) -> str:
    return f"{100 * m.value:.2f} % ({100 * m.low:.2f} to {100 * m.high:.2f})"


if __name__ == "__main__":
    main()
