"""Claim: `ilk train` is at least as accurate as the guide's loop after all its 30 epochs.

The guide's loop runs in bf16 here, which only saves time: in float32 it takes most of an hour. Both
sides are trained and tested on the same pictures. No time is taken.
"""

from __future__ import annotations

import json

from common import arguments, headline, ilk, scratch
from guide import EPOCHS, Loop

from ilk.evaluation.intervals import wilson

options = arguments(__doc__, epochs=EPOCHS)
headline("Accuracy of the guide's loop and of `ilk train`: cats_dogs, 1,500 to train, 500 to test")

with scratch() as folder:
    done = ilk(
        "train", str(options.data / "cats_dogs"), "--runs", str(folder), "--name", "b", "--json",
        cache=folder / "cache",
    )  # fmt: skip
    ours = json.loads(done.stdout)["accuracy"]
    loop = Loop(folder / "b" / "catalog.csv", bf16=True)
    for _ in range(options.epochs):
        loop.epoch()
    share, _loss = loop.test()

theirs = wilson(round(share * len(loop.test_set)), len(loop.test_set)).to_dict()
print("| | accuracy | 95 % interval |\n|---|---|---|")
for name, a in (
    (f"A: the guide's loop, {options.epochs} epochs", theirs),
    ("B: `ilk train`", ours),
):
    low, high = 100 * a["low"], 100 * a["high"]
    print(f"| {name} | {100 * a['value']:.1f} % | {low:.1f} to {high:.1f} (n = {a['n']}) |")
print()
