"""The machine: cores, devices, caches, and a description of them for reports."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from importlib import util
from pathlib import Path

from ilk.errors import OutputError, UsageError

FEATURES = ("avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "avx_vnni", "asimd")
PACKAGES = (
    "ilk", "torch", "timm", "openvino", "numpy", "scikit-learn", "pillow", "simplejpeg",
)  # fmt: skip


Tick = Callable[..., object]  # takes how many more are done, and perhaps a remark
Progress = Callable[[str, int], AbstractContextManager[Tick]]


@contextmanager
def silent(what: str, total: int) -> Iterator[Tick]:
    """Show no progress. Other kinds of `Progress` show how many of ``total`` are done.

    Parameters
    ----------
    what : str
        What is going on.
    total : int
        The number of pictures; the function that is yielded takes how many more are done.
    """
    yield _ignore


def _ignore(number: int, remark: str = "") -> None:
    """Take note of nothing."""


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a power cut, finds all of it or the one before.

    It is written to a temporary file, flushed and renamed, and the folder is flushed.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    flush_folder(path.parent)


def flush_folder(path: Path) -> None:
    """Have the names in a folder survive a power cut; where folders cannot be flushed, do nothing.

    Raises
    ------
    OSError
        The disk did not take them.
    """
    if os.name == "posix":
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def world_size() -> int:
    """Return how many processes torchrun started, including this one; 1 without torchrun."""
    return _number("WORLD_SIZE", 1)


def is_main_process() -> bool:
    """Return whether this process prints: the only one, or the one of rank 0 under torchrun.

    Known before the processes have joined.
    """
    return world_size() == 1 or _number("RANK", 0) == 0


def _number(variable: str, default: int) -> int:
    """Return the number in an environment variable; the default if it is unset or no number."""
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else default


@cache
def cores() -> int:
    """Return how many CPU cores this process may use, by its affinity and its container's quota.

    A quota of part of a core counts as a whole one. ``LOKY_MAX_CPU_COUNT`` sets a lower number.
    """
    from joblib import cpu_count

    return int(cpu_count())


def processor() -> str:
    """Describe the processor in a line, with what it has to compute networks by."""
    model, flags = platform.processor() or platform.machine(), ""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(errors="replace")
        facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        facts = {key.strip(): value.strip() for key, value in facts.items()}
        model, flags = facts.get("model name", model), facts.get("flags", facts.get("Features", ""))
    has = [flag for flag in FEATURES if flag in flags.split()]
    return f"{model}, {cores()} cores" + (f" ({', '.join(has)})" if has else "")


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step, instead of returning it to the system.

    Otherwise the system clears and maps the same pages again in every step. Does nothing on
    systems without glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    import ctypes

    m_trim_threshold, m_mmap_threshold, largest = -1, -3, 2**31 - 1
    libc = ctypes.CDLL(None)
    libc.mallopt(m_mmap_threshold, largest)
    libc.mallopt(m_trim_threshold, largest)


def installed(module: str) -> bool:
    """Say whether a module can be imported, without importing it."""
    return util.find_spec(module) is not None


def versions(*more: str) -> dict[str, str]:
    """Return the versions of what decides the numbers, and of ``more`` packages that are there."""
    numbers = {package: _version(package) for package in (*PACKAGES, *more)}
    found = {package: number for package, number in numbers.items() if number is not None}
    return {"python": platform.python_version(), **found}


@cache  # reading the metadata takes long
def _version(package: str) -> str | None:
    """Return the version of a package, or None if it is not there."""
    from importlib import metadata  # late, as it takes longer than the rest of this module

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cache_dir(kind: str) -> Path:
    """Return the folder for cached things of a kind, made if need be.

    ``ILK_CACHE`` moves the whole cache.

    Raises
    ------
    OutputError
        The folder cannot be made.
    """
    folder = cache_root() / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The cache folder {folder} cannot be made: {error.strerror}. "
            "Set ILK_CACHE to a folder that can be written."
        ) from None
    return folder


def cache_root() -> Path:
    """Return the folder that holds all that ilk caches."""
    chosen = os.environ.get("ILK_CACHE")
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("ilk")


def pick_device(wanted: str) -> str:
    """Turn ``auto`` into the best device here, and check that a named one is there.

    Raises
    ------
    UsageError
        The device is not on this machine.
    """
    if wanted == "cpu":
        return "cpu"
    if wanted == "auto" and not _may_have_accelerator():
        return "cpu"  # decided without importing torch, which takes over a second
    import torch

    present = ["cpu"]
    if torch.cuda.is_available():
        present += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        present.append("mps")
    if wanted == "auto":
        return next((name for name in ("cuda", "mps") if name in present), "cpu")
    if wanted not in present:
        raise UsageError(f"No device '{wanted}' here; there is: {', '.join(present)}.")
    return wanted


def _may_have_accelerator() -> bool:
    """Say whether asking torch for a GPU could find one."""
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    nvidia = any(Path(path).exists() for path in ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg"))
    rocm = Path("/dev/kfd").exists()
    return apple or nvidia or rocm or platform.system() == "Windows"
