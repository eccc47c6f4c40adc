"""Claim: a training that is killed at any moment goes on, and ends with the same bits.

Short trainings of five kinds, in three modes, are killed (SIGKILL) at random moments from the start
of their process to its end; every third is killed once more while it goes on. A checkpoint is
always being written. tests/support/killing.py does it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections import Counter
from pathlib import Path

from common import headline, run_process, scratch

SCRIPT = Path(__file__).parents[1] / "tests" / "support" / "killing.py"
BEFORE, AFTER = "before the training began", "after the end"
WHENS = (
    BEFORE,
    "before the first checkpoint",
    "while a checkpoint was written",
    "between two checkpoints",
    "after the last step",
    AFTER,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    headline("Killed at random moments, and resumed")
    os.environ["OMP_NUM_THREADS"] = "1"
    with scratch() as folder:
        done = run_process(
            [
                sys.executable, str(SCRIPT), str(folder), "--plots",
                "--kills", str(options.kills), "--seed", str(options.seed),
            ],
            cache=folder / "cache",
        )  # fmt: skip
    kills = json.loads(done.stdout)

    print("| trainings | kills | resumed | not the same in the end |\n|---|---|---|---|")
    for config in dict.fromkeys(kill["config"] for kill in kills):
        own = [kill for kill in kills if kill["config"] == config]
        resumed = sum(kill["when"] not in (BEFORE, AFTER) for kill in own)
        print(f"| {config} | {len(own)} | {resumed} | {sum(bool(k['differs']) for k in own)} |")

    moments = Counter(kill["when"] for kill in kills)
    print("\n| killed | times |\n|---|---|")
    for when in WHENS:
        print(f"| {when} | {moments[when]} |")

    lost = [kill["lost_seconds"] for kill in kills if kill["when"] not in (BEFORE, AFTER)]
    differ = sum(bool(kill["differs"]) for kill in kills)
    print(
        f"\n**{len(kills)} kills, {differ} differences** (target: 0) in a bit of the weights, the "
        "Spec, history, metrics, catalog or recipe, or files left behind.\n"
        f"Work lost: mean {statistics.mean(lost):.2f} s, at most {max(lost):.2f} s. "
        f"It took {done.seconds / 60:.1f} minutes.\n"
    )


if __name__ == "__main__":
    main()
