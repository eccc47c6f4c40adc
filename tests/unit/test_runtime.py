from __future__ import annotations

import builtins
import io
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from ilk import runtime
from ilk.errors import OutputError, UsageError


@pytest.fixture
def uncached(monkeypatch):
    """Return `cores` as a new process would find them."""
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    return runtime.cores.__wrapped__


def test_there_is_at_least_one_core(uncached):
    assert uncached() >= 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_process_that_is_bound_to_one_core_counts_one(uncached):
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert uncached() == 1
    finally:
        os.sched_setaffinity(0, before)


CGROUP = "/sys/fs/cgroup"
V1_QUOTA = f"{CGROUP}/cpu/cpu.cfs_quota_us"
V1_PERIOD = f"{CGROUP}/cpu/cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({f"{CGROUP}/cpu.max": "150000 100000\n"}, 2),
        ({f"{CGROUP}/cpu.max": "50000 100000\n"}, 1),
        ({f"{CGROUP}/cpu.max": "max 100000\n"}, 8),
        ({V1_QUOTA: "150000\n", V1_PERIOD: "100000\n"}, 2),
        ({V1_QUOTA: "-1\n", V1_PERIOD: "100000\n"}, 8),
        ({}, 8),
    ],
)
def test_a_container_may_have_a_quota_of_cores(monkeypatch, uncached, files, expected):
    def read(path, *rest, **options):
        return io.StringIO(files[path]) if path in files else open_file(path, *rest, **options)

    def exists(path):
        return path in files if str(path).startswith(CGROUP) else there(path)

    open_file, there = open, os.path.exists
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os.path, "exists", exists)
    monkeypatch.setattr(builtins, "open", read)
    assert uncached() == expected


def test_installed_tells_without_importing():
    assert runtime.installed("json")
    assert not runtime.installed("ilk_nonesuch")
    code = (
        "from ilk.runtime import *; installed('torch'); import sys; print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_versions_name_what_decides_the_numbers():
    found = runtime.versions()
    assert found["python"] == platform.python_version()
    assert {"ilk", "torch", "numpy", "pillow"} <= set(found)


def test_versions_pass_over_what_is_not_installed(monkeypatch):
    monkeypatch.setattr(runtime, "PACKAGES", ("numpy", "ilk-nonesuch"))
    assert set(runtime.versions()) == {"python", "numpy"}


def test_the_cache_goes_where_the_environment_says(cache):
    assert runtime.cache_root() == cache
    assert runtime.cache_dir("features") == cache / "features"
    assert (cache / "features").is_dir()
    assert runtime.cache_dir("features").is_dir()


def test_the_cache_is_in_the_users_own_folder_by_default(monkeypatch):
    monkeypatch.setenv("ILK_CACHE", "")
    assert runtime.cache_root().name == "ilk"


def test_a_cache_that_cannot_be_made_says_how_to_move_it(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ILK_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="Set ILK_CACHE"):
        runtime.cache_dir("features")


def test_the_cpu_is_always_there():
    assert runtime.pick_device("cpu") == "cpu"


class FakeTorch:
    """As much of torch as `pick_device` asks."""

    def __init__(self, gpus=0, mps=False):
        self.cuda = self.backends = self.mps = self
        self._gpus, self._mps = gpus, mps
        self.asked = 0

    def is_available(self):
        self.asked += 1
        return self._gpus > 0 if self.asked == 1 else self._mps  # cuda is asked first

    def device_count(self):
        return self._gpus


@pytest.fixture
def machine(monkeypatch):
    def set_up(gpus=0, mps=False):
        monkeypatch.setitem(sys.modules, "torch", FakeTorch(gpus, mps))
        monkeypatch.setattr(runtime, "_may_have_accelerator", lambda: gpus > 0 or mps)

    return set_up


@pytest.mark.parametrize(
    ("gpus", "mps", "wanted", "got"),
    [
        (0, False, "auto", "cpu"),
        (2, False, "auto", "cuda"),
        (2, False, "cuda:1", "cuda:1"),
        (0, True, "auto", "mps"),
        (0, True, "mps", "mps"),
        (1, False, "cpu", "cpu"),
    ],
)
def test_the_best_device_or_the_named_one_is_picked(machine, gpus, mps, wanted, got):
    machine(gpus, mps)
    assert runtime.pick_device(wanted) == got


@pytest.mark.parametrize(("gpus", "wanted"), [(0, "cuda"), (2, "cuda:2"), (2, "mps")])
def test_a_device_that_is_not_there_is_refused_naming_those_that_are(machine, gpus, wanted):
    machine(gpus)
    with pytest.raises(UsageError, match=f"No device '{wanted}' here; there is: cpu"):
        runtime.pick_device(wanted)


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("model name : X\nflags : sse avx512f amx_bf16\n", "(avx512f, amx_bf16)"),
        ("Features : fp asimd sve\n", "(asimd)"),  # as Linux on ARM writes it
        ("", "cores"),
    ],
)
def test_the_processor_is_described_with_what_it_can_do(monkeypatch, text, has):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
    assert has in runtime.processor()


@pytest.mark.parametrize(
    ("size", "rank", "processes", "main"),
    [
        (None, None, 1, True),
        ("", "", 1, True),
        (None, "3", 1, True),  # left over from something else
        ("1", "3", 1, True),
        ("4", "0", 4, True),
        ("4", "3", 4, False),
        ("4", None, 4, True),
        ("four", "3", 1, True),
    ],
)
def test_one_of_several_processes_is_the_main_one(monkeypatch, size, rank, processes, main):
    for name, value in (("WORLD_SIZE", size), ("RANK", rank)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert (runtime.world_size(), runtime.is_main_process()) == (processes, main)
