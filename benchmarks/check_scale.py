"""Claim: `ilk check` takes 60,000 files in minutes, and finds what cleanvision finds, faster.

cleanvision wants its own environment (its pins differ): make one with `python -m venv` and
`pip install cleanvision==0.3.7`, and give its interpreter as `--cleanvision`. Both run on the same
files, one after the other, each in a cold process.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from common import Finished, headline, ilk, run_process, scratch

PEER = """
import json, sys
from cleanvision import Imagelab
lab = Imagelab(data_path=sys.argv[1])
lab.find_issues(verbose=False)
flags = {c[3:-6]: lab.issues.index[lab.issues[c]].tolist()
         for c in lab.issues.columns if c.startswith("is_")}
json.dump(flags, open(sys.argv[2], "w"))
"""
# What ilk calls the kinds of cleanvision's findings.
SAME = {
    "exact_duplicates": ("duplicate.exact", "leakage.exact", "label.conflict"),
    "near_duplicates": ("duplicate", "leakage", "label.conflict"),
    "dark": ("picture.dark", "picture.blank"),
    "light": ("picture.bright", "picture.blank"),
    "low_information": ("picture.blank", "picture.placeholder", "picture.blurred"),
    "blurry": ("picture.blurred", "picture.blank"),
    "grayscale": ("picture.grey",),
    "odd_aspect_ratio": ("file.size",),
    "odd_size": ("file.size",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("ILK_TEST_DATA"))
    parser.add_argument("--sets", nargs="+", default=["cifar10", "cats_dogs", "ants_bees"])
    parser.add_argument("--cleanvision", help="an interpreter that has cleanvision")
    options = parser.parse_args()
    headline("Checking 60,000 files, and cleanvision on the same")
    print("| data | what | wall time | peak memory | findings |\n|---|---|---|---|---|")
    coverage = []
    with scratch() as folder:
        for name in options.sets:
            data = options.data.resolve() / name
            quick = checked(data, folder / f"{name}-quick", "--quick")
            full = checked(data, folder / name)
            again = checked(data, folder / name)
            for what, done in (("files alone (`--quick`), cold", quick), ("all, cold", full),
                               ("all, again", again)):  # fmt: skip
                print(row(name, f"ilk, {what}", done, len(json.loads(done.stdout)["findings"])))
            if options.cleanvision:
                file = folder / f"{name}.json"
                done = run_process([options.cleanvision, "-c", PEER, str(data), str(file)])
                theirs = json.loads(file.read_text())
                print(row(name, "cleanvision 0.3.7", done, sum(map(len, theirs.values()))))
                coverage += compared(name, theirs, json.loads(full.stdout)["findings"])
    if coverage:
        print(
            "\n| data | cleanvision's kind | its pictures | ilk names them too | as any kind |"
            "\n|---|---|---|---|---|"
        )
        print("\n".join(coverage))
    print()


def checked(data: Path, folder: Path, *flags: str) -> Finished:
    """Check in a cold process, with a cache in the folder: cold, if it is new."""
    return ilk("check", str(data), "--json", "--out", str(folder / "report"), "--exist-ok",
               *flags, cache=folder / "cache")  # fmt: skip


def row(name: str, what: str, done: Finished, findings: int) -> str:
    """Return a line of the table of times."""
    return f"| {name} | {what} | {done.seconds:.1f} s | {done.peak_gb:.2f} GB | {findings:,} |"


def compared(name: str, theirs: dict[str, list[str]], findings: list[dict]) -> list[str]:
    """Return by kind how many of cleanvision's pictures ilk flags in the same way, or at all."""
    lines = []
    for issue, paths in theirs.items():
        kinds = SAME.get(issue, ())
        same = [f for f in findings if f["kind"] in kinds or f["kind"].split(".")[0] in kinds]
        shares = [covered(paths, found) for found in (same, findings)]
        lines.append(f"| {name} | {issue} | {len(paths):,} | {' | '.join(shares)} |")
    return lines


def covered(paths: list[str], findings: list[dict]) -> str:
    """Return how many of some pictures the findings name."""
    ours = {os.path.realpath(path) for f in findings for path in f["paths"]}
    both = sum(os.path.realpath(path) in ours for path in paths)
    return f"{both:,} ({both / len(paths):.0%})" if paths else "-"


if __name__ == "__main__":
    main()
