"""Claim: `ilk train` needs at least 150 times less wall time than the guide's loop, and is as good.

Side A, the guide's loop, is timed for two epochs and extrapolated to its 30; with --full 1 all 30
are run (with --bf16 1 in bf16, which takes a third of the time) to know the accuracy it ends with.
Side B is `ilk train` from a cold process with a cold cache, evaluation included.
"""

from __future__ import annotations

import json
import statistics

from common import arguments, headline, ilk, scratch, spread
from guide import EPOCHS, Loop

options = arguments(__doc__, repeats=3, epochs=2, full=0, bf16=0)
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
    loop = Loop(folder / "runs" / "b0" / "catalog.csv", bf16=bool(options.bf16))
    epochs = [loop.epoch() for _ in range(EPOCHS if options.full else options.epochs)]
    guide_accuracy, test_seconds = loop.test()

if options.bf16:
    print("(Side A ran in bf16 to learn its final accuracy sooner: its times are not the guide's.)")
    print()
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
