"""Claim: probe, finetune and guide side by side on photos: accuracy, wall time, memory."""

from __future__ import annotations

import json

from common import arguments, headline, ilk, scratch

MODES = ("probe", "finetune", "guide")


def main() -> None:
    options = arguments(__doc__ or "", seeds=1)
    headline("Probe, finetune and guide on photos")
    print("| data | mode | accuracy on its test pictures | macro F1 | wall time | peak memory | |")
    print("|---|---|---|---|---|---|---|")
    with scratch() as folder:
        for data in ("ants_bees", "cats_dogs"):
            for mode in MODES:
                for seed in range(options.seeds):
                    print(row(options.data, data, mode, seed, folder), flush=True)
    print()


def row(root, data: str, mode: str, seed: int, folder) -> str:
    """Train once, in a cold process with a cold cache."""
    name = f"{data}-{mode}-{seed}"
    done = ilk(
        "train", str(root / data), "--mode", mode, "--seed", str(seed), "--json",
        "--runs", str(folder), "--name", name, cache=folder / f"cache-{name}",
    )  # fmt: skip
    record = json.loads(done.stdout)
    accuracy, f1, training = record["accuracy"], record["macro_f1"], record["training"]
    told = (
        f"{100 * accuracy['value']:.1f} % ({100 * accuracy['low']:.1f} to "
        f"{100 * accuracy['high']:.1f}, n = {accuracy['n']})"
    )
    kept = f"kept the {training['kept']}" if "kept" in training else ""
    return (
        f"| {data} | {mode} | {told} | {100 * f1['value']:.1f} % | {done.seconds:.1f} s | "
        f"{done.peak_gb:.2f} GB | {kept} |"
    )


if __name__ == "__main__":
    main()
