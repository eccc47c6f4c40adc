"""What this processor can do at most: products of large matrices, beside what the networks need.

No network can be faster than its multiplications at the rate of a large matrix product. The ratio
of two such rates bounds what a change of numbers alone can gain over an eager network.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from common import headline
from torch.utils.flop_counter import FlopCounterMode

from ilk.models.backbones import create

SIDE, REPEATS = 2048, 30
NETWORKS = ("tf_efficientnet_lite0", "resnet18")


def main() -> None:
    headline("Limits of this processor")
    rates = {"float32": floats(torch.float32), "bf16": floats(torch.bfloat16), "int8": int8()}
    told = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    print(
        f"Products of two {SIDE} x {SIDE} matrices, the best of {REPEATS}, in 10^9 multiply-adds a"
    )
    print(f"second: {told}.\n")
    print("| network at 224 px | 10^9 multiply-adds | least ms in float32 | bf16 | int8 |")
    print("|---|---|---|---|---|")
    for name in NETWORKS:
        needed = multiply_adds(name)
        least = " | ".join(f"{1000 * needed / rate:.2f}" for rate in rates.values())
        print(f"| {name} | {needed:.2f} | {least} |")


def floats(kind: torch.dtype) -> float:
    a, b = torch.randn(SIDE, SIDE, dtype=kind), torch.randn(SIDE, SIDE, dtype=kind)
    return rate(lambda: a @ b)


def int8() -> float:
    a, b = (torch.randint(-128, 127, (SIDE, SIDE), dtype=torch.int8) for _ in "ab")
    return rate(lambda: torch._int_mm(a, b))


def rate(product: Callable[[], object]) -> float:
    product()
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - began)
    return SIDE**3 / min(seconds) / 1e9


def multiply_adds(name: str) -> float:
    """Return those of one picture, in 10^9."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        create(name, None).eval()(torch.zeros(1, 3, 224, 224))
    return counter.get_total_flops() / 2 / 1e9


if __name__ == "__main__":
    main()
