"""Claim: bulk prediction from JPEG files is at least 8 times the guide's function in a loop.

Side A is the guide's single-picture function in a loop, import and loading not counted. Side B is
`ilk predict` on the whole folder from a cold process with a warm cache: everything counted.
"""

from __future__ import annotations

import time

from common import arguments, headline, ilk, scratch, spread
from guide import model_for, single_predictor

options = arguments(__doc__, repeats=3, singles=150)
headline("Bulk prediction: cats_dogs, 2,000 JPEG files")

files = sorted((options.data / "cats_dogs").glob("*/*.jpg"))
predict = single_predictor(model_for(2), ["cats", "dogs"])
for file in files[:5]:
    predict(str(file))

with scratch() as folder:
    data, cache = str(options.data / "cats_dogs"), folder / "cache"
    ilk("train", data, "--runs", str(folder), "--name", "m", cache=cache)
    theirs, ours = [], []
    for i in range(options.repeats):
        some = files[i :: len(files) // options.singles]
        began = time.perf_counter()
        for file in some:
            predict(str(file))
        theirs.append(len(some) / (time.perf_counter() - began))
        done = ilk("predict", str(folder / "m" / "model.safetensors"), data, cache=cache)
        ours.append(len(files) / done.seconds)

ratios = [b / a for a, b in zip(theirs, ours, strict=True)]
print("| | pictures/s |\n|---|---|")
print(f"| A: the guide's function in a loop | {spread(theirs, '', 1)} |")
print(f"| B: `ilk predict`, cold process, start-up included | {spread(ours, '', 1)} |")
print(f"\n**Ratio: {spread(ratios, '', 1)}** (target: at least 8)\n")
