"""What the end-to-end tests share: the command line as a process of its own, tiny pictures, and
models that are trained once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

Ilk = Callable[..., subprocess.CompletedProcess[str]]
COLOURS = {"blue": (20, 40, 200), "green": (20, 180, 40), "red": (210, 30, 20)}


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of every command: one cache for all, no hub, warnings shown."""
    cache = tmp_path_factory.mktemp("cache")
    return {**os.environ, "ILK_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}


@pytest.fixture(scope="session")
def ilk(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Ilk:
    """Run one ilk command; check its exit code, and that no traceback ever shows."""
    home = tmp_path_factory.mktemp("home")

    def run(
        *arguments: object,
        code: int = 0,
        cwd: Path = home,
        stdin: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "ilk", *(os.fspath(a) if isinstance(a, Path) else str(a)
                                            for a in arguments)],
            check=False,
            cwd=cwd,
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            env={**environment, **(env or {})},
            capture_output=True,
            timeout=timeout,
        )  # fmt: skip
        result = subprocess.CompletedProcess(
            done.args,
            done.returncode,
            done.stdout.decode("utf-8", "surrogateescape"),
            done.stderr.decode("utf-8", "surrogateescape"),
        )
        told = f"{arguments}\n{result.stdout}\n{result.stderr}"
        assert "Traceback" not in result.stderr, told
        assert result.returncode == code, told
        return result

    return run


@pytest.fixture(scope="session")
def refused(ilk: Ilk) -> Callable[..., str]:
    """Run a command that must be refused in one sentence and with nothing on stdout."""

    def run(*arguments: object, code: int, **options: object) -> str:
        done = ilk(*arguments, code=code, **options)
        lines = [
            x for x in done.stderr.splitlines() if not x.startswith(("Preparing ", "Left out "))
        ]
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("ilk: ")
        assert lines[0].endswith((".", "?")), lines[0]
        assert lines[0].isprintable(), repr(lines[0])
        assert done.stdout == ""
        return lines[0]

    return run


def write_picture(file: Path, colour: Sequence[int], size: int = 24) -> None:
    """Write one noisy picture of a colour; the noise depends on the file's name alone."""
    rng = np.random.default_rng(zlib.crc32(os.fsencode(file.name)))
    pixels = np.clip(np.array(colour) + rng.normal(0, 25, (size, size, 3)), 0, 255)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as out:
        name = "JPEG" if file.suffix == ".jpg" else "PNG"
        Image.fromarray(pixels.astype(np.uint8)).save(out, name)


def write_pictures(root: Path, number: int, classes: Sequence[str] = ("blue", "red")) -> Path:
    """Write ``number`` pictures a class, every other a JPEG."""
    for label in classes:
        for i in range(number):
            ending = "jpg" if i % 2 else "png"
            write_picture(root / label / f"{label}{i:02d}.{ending}", COLOURS[label])
    return root


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """What makes tiny pictures on the fly."""
    return SimpleNamespace(colours=COLOURS, picture=write_picture, folder=write_pictures)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of eight tiny pictures each; never to be changed."""
    return write_pictures(tmp_path_factory.mktemp("data") / "colours", 8, tuple(COLOURS))


@pytest.fixture(scope="session")
def trained(ilk: Ilk, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A model of the three classes: its run folder, its file, and what the command said."""
    runs = tmp_path_factory.mktemp("runs")
    done = ilk("train", pictures, "--runs", runs, "--name", "colours")
    run = runs / "colours"
    return SimpleNamespace(run=run, model=run / "model.safetensors", said=done)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's chromium, headless."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Debian's package chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()
