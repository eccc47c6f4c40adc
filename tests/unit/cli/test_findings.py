from __future__ import annotations

import pytest

from ilk.checking.findings.records import Finding, Findings
from ilk.cli.findings import print_findings
from ilk.data.catalog import Catalog


def found(kind, *paths, severity="warning", detail="what is wrong"):
    return Finding(kind, severity, paths, detail, "Look at them, and keep what you can use.")


def printed(capsys, *findings, n=27):
    print_findings(Findings(n, findings, Catalog((), source="data")))
    return capsys.readouterr().out


def test_nothing_wrong_is_one_line(capsys):
    assert printed(capsys) == "27 files, no findings\n"


def test_each_kind_is_told_with_its_number_what_to_do_and_the_first_names(capsys):
    many = [found("picture.dark", f"data/{i}.png") for i in range(1000)]
    pair = found("leakage.near", "data/a.png", "b.png", "c.png", severity="error")
    lines = printed(capsys, *many, pair).splitlines()
    assert lines[0] == "error    1 x leakage.near: Near copies in several splits"
    assert lines[1].strip() == "Look at them, and keep what you can use."
    assert lines[2].strip() == "a.png, b.png and 1 more: what is wrong"
    assert lines[4] == "warning  1,000 x picture.dark: Very dark pictures"
    assert lines[6].strip() == "0.png: what is wrong"
    assert lines[10].strip() == "… and 996 more"
    assert lines[-1] == "27 files, 1,001 findings: 1 error, 1,000 warning"


def test_a_finding_without_files_is_its_detail(capsys):
    assert "  what is wrong\n" in printed(capsys, found("balance.few"))


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_gets_no_line_that_is_too_wide(capsys, monkeypatch, terminal):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    text = printed(capsys, found("outlier", "data/" + "long" * 50, detail="d" * 300))
    widest = max(map(len, text.splitlines()))
    assert widest <= 80 if terminal else widest > 500


def test_names_are_never_markup_nor_control_characters(capsys):
    text = printed(capsys, found("outlier", "data/[bold]\x1b[2J", detail="[red]x\udce9"))
    assert r"[bold]\x1b[2J: [red]x\udce9" in text
