"""Claim: handwritten digits to 99 % within 30 s, from a cold process."""

from __future__ import annotations

import json
import statistics

from common import arguments, headline, ilk, scratch, spread


def main() -> None:
    options = arguments(__doc__ or "", seeds=5)
    headline("Digits")
    seconds, accuracies = [], []
    with scratch() as folder:
        for seed in range(options.seeds):
            done = ilk("train", "digits", "--seed", str(seed), "--json", "--runs", str(folder),
                       cache=folder / "cache")  # fmt: skip
            seconds.append(done.seconds)
            accuracies.append(100 * json.loads(done.stdout)["accuracy"]["value"])
    print("| what | target | measured |\n|---|---|---|")
    print(
        f"| accuracy on 450 test pictures, mean over split seeds | >= 99 % | "
        f"mean {statistics.mean(accuracies):.2f} %, each "
        f"{', '.join(f'{a:.1f}' for a in accuracies)} |"
    )
    print(f"| wall time, cold process | <= 30 s | {spread(seconds, ' s', 1)} |\n")


if __name__ == "__main__":
    main()
