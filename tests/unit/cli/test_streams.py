from __future__ import annotations

import sys

import pytest

import ilk.cli


@pytest.mark.usefixtures("own_handlers")
def test_a_closed_stdout_ends_a_command_quietly(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", None)
    assert ilk.cli.run(["recipes"]) == 0
    sys.stdout.close()
    assert capsys.readouterr().err == ""


@pytest.fixture
def own_handlers(monkeypatch):
    import logging

    monkeypatch.setattr(logging.getLogger("ilk"), "handlers", [])
