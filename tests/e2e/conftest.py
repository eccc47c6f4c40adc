"""What the end-to-end tests share: commands, tiny pictures, and a model that is trained once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from colours import COLOURS, OFFLINE, write_picture, write_pictures
from commands import Done, run_apart, run_here

Ilk = Callable[..., Done]


@pytest.fixture(scope="session")
def environment(warm_cache: Path) -> dict[str, str]:
    """The environment of every command: one cache, in which the backbone lies, and no hub."""
    return {**os.environ, **OFFLINE, "ILK_CACHE": str(warm_cache)}


@pytest.fixture(scope="session")
def ilk(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Ilk:
    """Run one ilk command; check its exit code, and that no traceback ever shows.

    It runs within this process unless ``apart``, where its plots are blank unless ``plots``.
    """
    home = tmp_path_factory.mktemp("home")

    def run(
        *arguments: object,
        code: int = 0,
        cwd: Path = home,
        stdin: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        apart: bool = False,
        plots: bool = False,
    ) -> Done:
        words = [os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments]
        given = stdin.encode() if isinstance(stdin, str) else stdin
        place = {**environment, **(env or {})}
        if apart:
            done = run_apart(words, cwd, given, place)
        else:
            done = run_here(words, cwd, given, place, plots)
        told = f"{arguments}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, told
        assert done.returncode == code, told
        return done

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


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """What makes tiny pictures on the fly."""
    return SimpleNamespace(colours=COLOURS, picture=write_picture, folder=write_pictures)


@pytest.fixture(scope="session")
def pictures(colours_place: Path) -> Path:
    """Three classes of eight tiny pictures each; never to be changed."""
    return colours_place / "colours"


@pytest.fixture(scope="session")
def trained(colours_place: Path) -> SimpleNamespace:
    """A model of the three classes: its run folder, its file, and what the command said."""
    run = colours_place / "runs" / "colours"
    out, err = json.loads((colours_place / "said.json").read_text())
    return SimpleNamespace(run=run, model=run / "model.safetensors", out=out, err=err)


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
