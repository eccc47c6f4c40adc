from __future__ import annotations

import time

import numpy as np
import pytest

from ilk.data.catalog import Picture
from ilk.exporting.timing import BATCH_SIZES, benchmark_interleaved
from ilk.inference.classifier import Classifier


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


def slowed(bundle, as_engine, log, name, seconds):
    class Slow(as_engine):
        def run(self, pixels):
            log.append((name, len(pixels)))
            time.sleep(seconds)
            return super().run(pixels)

    return Classifier(bundle.spec, Slow(bundle))


def test_the_slower_is_slower_and_they_take_turns(bundle, as_engine, pixels, encoded, noise):
    log = []
    runners = [
        slowed(bundle, as_engine, log, "a", 0.002),
        slowed(bundle, as_engine, log, "b", 0.01),
    ]
    files = [Picture(str(i), content=encoded(noise(i), "PNG")) for i in range(3)]
    fast, slow = benchmark_interleaved(runners, pixels, files, rounds=2)
    assert 2 <= fast.latency_ms()["p50"] < slow.latency_ms()["p50"]
    assert slow.latency_ms()["p50"] >= 10
    assert slow.latency_ms()["p50"] <= slow.latency_ms()["p95"] <= slow.latency_ms()["p99"]
    assert fast.end_to_end > 0  # of three files, too few to be told from noise
    names = [name for name, _ in log]
    turns = "".join(
        name for name, before in zip(names, ["", *names], strict=False) if name != before
    )
    assert turns == "aba"  # a then b, b then a


def test_throughput_is_that_of_the_best_batch(bundle, as_engine, pixels):
    [speed] = benchmark_interleaved(
        [slowed(bundle, as_engine, [], "a", 0.005)], pixels, (), rounds=1
    )
    assert set(speed.throughputs) == {1, *BATCH_SIZES}
    assert speed.best_batch == 32  # as each call takes as long
    assert speed.throughput == speed.throughputs[32]
    assert speed.end_to_end is None
