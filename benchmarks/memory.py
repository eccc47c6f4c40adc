"""Claim: memory does not grow with the number of pictures, features aside."""

from __future__ import annotations

import json

from common import arguments, headline, ilk, scratch

options = arguments(__doc__)
headline("Peak memory: 2,000 photos against 60,000 small pictures")

with scratch() as folder:
    results = {}
    for data in ("cats_dogs", "cifar10"):
        done = ilk(
            "train", str(options.data / data), "--runs", str(folder), "--name", data, "--json",
            "--allow-leakage",  # CIFAR-10 has near copies of its test pictures in train
            cache=folder / "cache",
        )  # fmt: skip
        facts = json.loads(done.stdout)
        results[data] = (done.peak_gb, facts["accuracy"])

print("| data | peak memory | accuracy |\n|---|---|---|")
for data, (peak, a) in results.items():
    print(
        f"| {data} | {peak:.2f} GB | {100 * a['value']:.1f} % "
        f"({100 * a['low']:.1f} to {100 * a['high']:.1f}, n = {a['n']:,}) |"
    )
more = results["cifar10"][0] - results["cats_dogs"][0]
print(f"\n**cifar10 over cats_dogs: {more:+.2f} GB** (targets: cats_dogs <= 2 GB, at most +1 GB)\n")
