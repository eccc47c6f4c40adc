from __future__ import annotations

import pytest

from ilk.checking.findings.kinds import GROUPS, KINDS, SEVERITIES, matches, select, title
from ilk.checking.findings.records import Findings
from ilk.errors import UsageError


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        (["leakage"], ["leakage.exact", "leakage.near"]),
        (["leakage.near"], ["leakage.near"]),
        (["unreadable"], ["file.unreadable", "file.truncated"]),
        (["error"], ["leakage.exact", "file.unreadable", "file.truncated"]),
        (["outlier, leakage.near"], ["leakage.near", "outlier"]),
        (["outlier", "label"], ["label.suspect", "outlier"]),
        (["leakage,"], ["leakage.exact", "leakage.near"]),
        (["balance"], []),
    ],
)
def test_findings_are_selected_by_severity_family_group_and_kind(finding, names, kinds):
    found = (
        finding("leakage.exact", severity="error"),
        finding("file.unreadable", severity="error"),
        finding("file.truncated", severity="error"),
        finding("leakage.near"),
        finding("label.suspect"),
        finding("outlier", severity="info"),
    )
    assert [f.kind for f in Findings(9, found).select(*names)] == kinds


def test_a_family_is_not_a_mere_prefix():
    assert not matches(select("label"), "labels.odd", "warning")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("leakege", "leakage"), ("duplicate.exakt", "duplicate.exact"), ("errors", "error"),
     ("unreadible", "unreadable")],
)  # fmt: skip
def test_an_unknown_name_is_refused_with_the_nearest_one(wrong, right):
    with pytest.raises(UsageError, match=f"--fail-on '{wrong}' .*Did you mean '{right}'"):
        select([f"balance,{wrong}"], "--fail-on")


@pytest.mark.parametrize("name", ["", " , ", "xyzzy", "Leakage.*"])
def test_a_name_unlike_any_is_refused_with_what_is_allowed(name):
    with pytest.raises(UsageError, match=r"error, warning, info; unreadable, file, .*balance"):
        select([name], "--kinds")


def test_names_with_control_characters_are_shown_harmlessly():
    with pytest.raises(UsageError, match=r"\\x1b"):
        select(["\x1b[2J"], "--kinds")


def test_groups_hold_kinds_and_no_name_means_two_things():
    assert all(kind in KINDS for kinds in GROUPS.values() for kind in kinds)
    families = {kind.partition(".")[0] for kind in KINDS}
    assert not set(GROUPS) & families
    assert not set(SEVERITIES) & {*GROUPS, *families, *KINDS}


def test_a_kind_has_a_title_in_words():
    assert title("duplicate.exact") == "Exact copies"
    assert title("new.kind") == "new.kind"
