"""Claim: `ilk train` needs at least 150 times less wall time than the guide's loop, and is as good.

Side A, the guide's loop, is timed for two epochs and extrapolated to its 30; what accuracy it ends
with is the business of guide_accuracy.py. Side B is `ilk train` from a cold process with a cold
cache, evaluation included.
"""

from __future__ import annotations

import json
import statistics

from common import arguments, headline, ilk, scratch, spread
from guide import EPOCHS, Loop

options = arguments(__doc__, repeats=3, epochs=2)
headline("The guide's loop against `ilk train`: cats_dogs, 1,500 to train, 500 to test")

with scratch() as folder:
    seconds, accuracy = [], None
    for i in range(options.repeats):
        done = ilk(
            "train", str(options.data / "cats_dogs"), "--runs", str(folder / "runs"),
            "--name", f"b{i}", "--json", cache=folder / f"cache{i}",
        )  # fmt: skip
        seconds.append(done.seconds)
        accuracy = json.loads(done.stdout)["accuracy"]
    loop = Loop(folder / "runs" / "b0" / "catalog.csv")
    epochs = [loop.epoch() for _ in range(options.epochs)]
    guide_accuracy, test_seconds = loop.test()

whole = EPOCHS * statistics.median(epochs) + test_seconds
ours = statistics.median(seconds)
print("| | wall time | accuracy on the same 500 pictures |\n|---|---|---|")
print(
    f"| A: the guide's loop, an epoch {spread(epochs, ' s', 1)}, test {test_seconds:.1f} s | "
    f"{whole:,.0f} s for {EPOCHS} epochs ({len(epochs)} run) | "
    f"{100 * guide_accuracy:.1f} % after {len(epochs)} epochs |"
)
print(
    f"| B: `ilk train`, cold process, cold cache | {spread(seconds, ' s', 1)} | "
    f"{100 * accuracy['value']:.1f} % "
    f"({100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f}) |"
)
print(f"\n**Ratio of wall times: {whole / ours:,.0f}** (target: at least 150)\n")
