"""What the README shows is run here, word for word."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def block(heading, language):
    """Return the first code block of a language under a heading."""
    section = README.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1]
    return re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)[1]


@pytest.fixture
def place(tmp_path, tiny):
    """A folder in which the README's files lie."""
    for label, colour in (("cats", "red"), ("dogs", "blue")):
        for i in range(8):
            tiny.picture(tmp_path / "photos" / label / f"{i}.png", tiny.colours[colour])
    for name in ("more/c.jpg", "a.jpg", "b.png"):
        tiny.picture(tmp_path / name, tiny.colours["red"])
    shutil.copy(tmp_path / "photos" / "cats" / "0.png", tmp_path / "photos" / "cats" / "copy.png")
    return tmp_path


@pytest.mark.parametrize(
    "heading",
    [
        "Commands",
        "Looking after the pictures",
        pytest.param("Scores to act on", marks=pytest.mark.slow),
        pytest.param("When the probe is not enough", marks=pytest.mark.slow),
        pytest.param("Shipping it", marks=pytest.mark.slow),
    ],
)
def test_the_commands_run(ilk, place, heading):
    lines = [line.split("#")[0] for line in block(heading, "sh").splitlines()]
    assert len(lines) >= 4
    for line in lines:
        line = line.replace("--budget 10m", "--budget 4s")  # noqa: PLW2901 -- it takes that long
        program, *words = shlex.split(line)
        assert program == "ilk"
        if words[0] == "serve":  # ends when it is told to: see test_serve.py
            continue
        if words[0] == "export" and heading != "Shipping it":  # it takes long, and is run there
            continue
        if words == ["export", "runs/cd"]:
            words += ["--budget", "1s"]
        ilk(*(name for word in words for name in expanded(word, place)), cwd=place)


def expanded(word, folder):
    """Return a word as a shell would pass it."""
    matches = sorted(str(p.relative_to(folder)) for p in folder.glob(word)) if "*" in word else []
    return matches or [word]


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_python_runs(environment, place, whole):
    script = block("Python", "python")
    if not whole:
        script = script.split("receipt = ")[0]  # exporting takes long
    script += "assert predictions.labels == ['cats', 'cats']\n"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "95 % interval" in done.stdout
