"""Progress: what is shown, where, and when."""

from __future__ import annotations

import fcntl
import io
import os
import struct
import sys
import termios
import time
from types import SimpleNamespace

import pytest

from ilk import progress as module
from ilk.formats.libraries import quiet_converter
from ilk.progress import bars, heartbeat, lines, progress_of
from ilk.runtime import silent


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def written(monkeypatch):
    """Make seconds of waiting hundredths; return ``written(stream)``: stderr from now on."""
    monkeypatch.setattr(module, "FIRST_S", 0.02)
    monkeypatch.setattr(module, "EVERY_S", 0.02)

    def stderr(stream=None):  # not before the test begins: pytest has a stream for each phase
        stream = stream or io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return stderr


def until(stream, text):
    end = time.monotonic() + 5
    while text not in stream.getvalue():
        assert time.monotonic() < end, stream.getvalue()
        time.sleep(0.01)


def test_the_first_line_comes_within_2_seconds_and_the_next_within_10():
    assert module.FIRST_S < 2
    assert module.EVERY_S < 10


def test_lines_tell_of_the_innermost_stage_and_of_what_goes_on_between_stages(written):
    stderr = written()
    with heartbeat("training") as progress:
        until(stderr, "training: 0 s\n")
        with progress("reading", 2000) as tick:
            until(stderr, "reading: 0 of 2,000\n")
            tick(1500)
            until(stderr, "reading: 1,500 of 2,000, 0 s left\n")
            with progress("solving", 0):
                until(stderr, "solving: 0 s\n")
            tick(1, "loss 0.3, 2 min left")
            until(stderr, "reading: 1,501 of 2,000, loss 0.3, 2 min left\n")
        stderr.truncate(0)
        until(stderr, "training: 0 s\n")
    assert not {"\r", "\x1b"} & set(stderr.getvalue())
    before = stderr.getvalue()
    time.sleep(0.1)
    assert stderr.getvalue() == before


def test_lines_end_with_an_error(written):
    stderr = written()
    with (
        pytest.raises(ValueError, match="bad"),
        heartbeat("training") as progress,
        progress("reading", 3),
    ):
        raise ValueError("bad")
    before = stderr.getvalue()
    time.sleep(0.1)
    assert stderr.getvalue() == before


def test_lines_are_shown_while_libraries_are_kept_from_stderr(tmp_path, written):
    with (tmp_path / "stderr").open("w+", encoding="utf-8") as file:
        written(file)
        with heartbeat("exporting"), quiet_converter("onnx"):
            end = time.monotonic() + 5
            while "exporting: 0 s\n" not in (tmp_path / "stderr").read_text():
                assert time.monotonic() < end
                time.sleep(0.01)


@pytest.mark.parametrize("stream", [None, "closed"])
def test_without_stderr_the_work_goes_on(monkeypatch, written, stream):
    stderr = written()
    if stream == "closed":
        stderr.close()
    else:
        monkeypatch.setattr(sys, "stderr", None)
    with heartbeat("training") as progress, progress("reading", 3) as tick:
        time.sleep(0.1)
        tick(1)


def test_a_terminal_shows_bars_and_lines_between_them(written):
    terminal = written(Terminal())
    with heartbeat("training") as progress:
        until(terminal, "training: 0 s\n")
        with progress("reading", 3) as tick:
            at = terminal.tell()
            time.sleep(0.1)
            tick(3)
            assert "\n" not in terminal.getvalue()[at:]


def test_python_shows_progress_in_terminals_and_notebooks_only(monkeypatch, written):
    written()
    assert progress_of(None) is silent
    assert progress_of(False) is silent
    assert progress_of(True) is lines
    assert progress_of(bars) is bars
    kernel = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: kernel))
    assert progress_of(None) is progress_of(True) is bars
    assert progress_of(False) is silent
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert progress_of(None) is silent
    written(Terminal())
    assert progress_of(None) is progress_of(True) is bars
    assert progress_of(False) is silent


def test_a_terminal_without_a_size_shows_lines(written):
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal, os.fdopen(ours, "rb", 0) as screen:
        written(terminal)
        assert progress_of(None) is lines
        with heartbeat("training") as progress, progress("reading", 3):
            assert screen.read(10).startswith(b"reading: 0")
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        assert progress_of(None) is bars


def test_lines_for_python(written):
    stderr = written()
    with lines("reading", 4) as tick:
        tick(2)
        until(stderr, "reading: 2 of 4, 0 s left\n")


@pytest.mark.parametrize("total", [0, 3])
def test_bars_are_gone_at_the_end(written, total):
    terminal = written(Terminal())
    with bars("reading", total) as tick:
        tick(1)
        tick(1, "loss 0.3")
    assert "\n" not in terminal.getvalue()
