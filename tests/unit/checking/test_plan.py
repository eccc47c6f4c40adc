from __future__ import annotations

import pytest

from ilk.checking.quarantine.plan import chosen_files


@pytest.fixture
def files(tmp_path):
    """Return ``files(*names)``: paths of files that are there."""

    def make(*names):
        for name in names:
            (tmp_path / name).write_text(name)
        return [str(tmp_path / name) for name in names]

    return make


def test_all_files_of_a_finding_go_with_what_was_found(files, finding):
    a, b = files("a", "b")
    dark, conflict = finding("picture.dark", a), finding("label.conflict", a, b)
    assert chosen_files([dark, conflict]) == {a: [dark, conflict], b: [conflict]}


@pytest.mark.parametrize(
    "kind", ["duplicate.exact", "duplicate.near", "leakage.exact", "leakage.near"]
)
def test_of_copies_the_first_stays(files, finding, kind):
    a, b, c = files("a", "b", "c")
    assert list(chosen_files([finding(kind, a, b, c)])) == [b, c]


def test_a_ring_of_copies_never_goes_as_a_whole(files, finding):
    a, b, c = files("a", "b", "c")
    pairs = [finding("duplicate.near", *pair) for pair in ((a, b), (b, c), (c, a))]
    gone = set(chosen_files(pairs))
    assert gone < {a, b, c}
    assert all(len(set(pair.paths) - gone) <= 1 for pair in pairs)


def test_the_copy_that_stays_is_none_that_goes_for_another_reason(files, finding):
    a, b, c = files("a", "b", "c")
    copies, blank = finding("duplicate.exact", a, b, c), finding("picture.blank", a)
    assert chosen_files([copies, blank]) == {a: [blank], c: [copies]}


def test_a_file_is_not_taken_for_its_own_copy(files, finding, tmp_path):
    (a,) = files("a")
    (tmp_path / "again").symlink_to(tmp_path)
    twice = finding("duplicate.exact", a, a, f"{tmp_path}/./a", f"{tmp_path}/again/a")
    assert chosen_files([twice]) == {}


def test_a_file_stays_if_the_link_to_it_does(files, finding, tmp_path):
    (a,) = files("a")
    link = tmp_path / "link"
    link.symlink_to(a)
    assert chosen_files([finding("duplicate.exact", link, a)]) == {}
    assert list(chosen_files([finding("duplicate.exact", a, link)])) == [str(link)]


def test_relative_paths_become_absolute(files, finding, tmp_path, monkeypatch):
    files("a")
    monkeypatch.chdir(tmp_path)
    assert list(chosen_files([finding("outlier", "a")])) == [str(tmp_path / "a")]


def test_findings_about_classes_move_nothing(files, finding):
    (a,) = files("a")
    assert chosen_files([finding("balance.few", a), finding("label.splits")]) == {}
