from __future__ import annotations

import sys

import pytest

from ilk.exporting import startup_probe
from ilk.exporting.startup_probe import peak_memory


def test_the_peak_is_that_of_this_process():
    assert 10e6 < peak_memory() < 1e12


@pytest.mark.parametrize("status", [None, "Name: python\nVmRSS: 5 kB\n"])
def test_without_the_kernels_peak_it_is_that_of_getrusage(status, tmp_path, monkeypatch):
    """Some sandboxes report no VmHWM, and other systems have no /proc at all."""
    if status is not None:
        (tmp_path / "status").write_text(status)
    monkeypatch.setattr(startup_probe, "STATUS", tmp_path / "status")
    assert 10e6 < peak_memory() < 1e12


def test_where_nothing_reports_it_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(startup_probe, "STATUS", tmp_path / "none")
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert peak_memory() is None
