"""``ilk`` commands: in this process, which spares the imports, or in one of their own."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import ilk.cli
import ilk.progress
from quick import blank_plots

PROGRESS = re.compile(r"^[\w /]+: ([\d,]+ s|[\d,]+ of [\d,]+(, .*)?)\n", re.MULTILINE)
Done = subprocess.CompletedProcess[str]


def run_here(
    words: Sequence[str], cwd: Path, stdin: bytes, env: Mapping[str, str], plots: bool = False
) -> Done:
    """Run a command in this process, with streams, variables and a folder of its own.

    Its plots are blank unless ``plots``.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        for name, value in env.items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.setattr(logging.getLogger("ilk"), "handlers", [])  # which keep the stream
        patch.setattr(ilk.progress, "FIRST_S", 600)
        if not plots:
            blank_plots(patch)
        code = ilk.cli.run(words)
    said = [stream.buffer.getvalue().decode("utf-8") for stream in (out, err)]
    return Done(words, code, *said)


def run_apart(
    words: Sequence[str],
    cwd: Path,
    stdin: bytes,
    env: Mapping[str, str],
    timeout: float | None = None,
) -> Done:
    """Run a command as a shell does; its lines of progress, which depend on time, are left out."""
    done = subprocess.run(
        [sys.executable, "-m", "ilk", *words],
        check=False, cwd=cwd, input=stdin, env={**os.environ, **env}, capture_output=True,
        timeout=timeout,
    )  # fmt: skip
    out, err = (stream.decode("utf-8", "surrogateescape") for stream in (done.stdout, done.stderr))
    return Done(words, done.returncode, out, PROGRESS.sub("", err))
