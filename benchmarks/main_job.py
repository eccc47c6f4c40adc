"""Claim: the main job takes seconds, from a cold process with a cold cache, evaluation included."""

from __future__ import annotations

import json
import statistics

from common import arguments, headline, ilk, scratch, spread

options = arguments(__doc__, seeds=5)
headline("The main job: cold, warm, and over split seeds")

with scratch() as folder:

    def train(data: str, run: str, cache: str, *more: str) -> tuple[float, float, float]:
        """Return wall seconds, accuracy and peak memory in GB of one cold process."""
        done = ilk(
            "train", str(options.data / data), "--runs", str(folder / "runs"), "--name", run,
            "--json", *more, cache=folder / cache,
        )  # fmt: skip
        return done.seconds, json.loads(done.stdout)["accuracy"]["value"], done.peak_gb

    dogs = [train("cats_dogs", f"cd{s}", f"cd{s}", "--seed", str(s)) for s in range(options.seeds)]
    dogs_warm = [train("cats_dogs", f"cdw{i}", "cd0") for i in range(options.seeds)]
    ants = [train("ants_bees", f"ab{i}", f"ab{i}") for i in range(options.seeds)]
    ants_warm = [train("ants_bees", f"abw{i}", "ab0") for i in range(options.seeds)]

accuracies = [100 * accuracy for _, accuracy, _ in dogs]
print("| what | target | measured |\n|---|---|---|")
print(f"| cats_dogs, cold | <= 20 s | {spread([t for t, _, _ in dogs], ' s', 1)} |")
print(f"| cats_dogs, warm cache | <= 5 s | {spread([t for t, _, _ in dogs_warm], ' s', 1)} |")
print(
    f"| cats_dogs, accuracy, mean over split seeds (500 test pictures each) | >= 98.5 % | "
    f"mean {statistics.mean(accuracies):.2f} %, standard deviation "
    f"{statistics.stdev(accuracies):.2f}, each {', '.join(f'{a:.1f}' for a in accuracies)} |"
)
print(f"| cats_dogs, peak memory | <= 2 GB | {spread([m for _, _, m in dogs], ' GB')} |")
print(f"| ants_bees, cold | <= 10 s | {spread([t for t, _, _ in ants], ' s', 1)} |")
print(f"| ants_bees, warm cache | <= 5 s | {spread([t for t, _, _ in ants_warm], ' s', 1)} |")
print(f"| ants_bees, accuracy on its val split (n = 153) | >= 95 % | {100 * ants[0][1]:.1f} % |\n")
