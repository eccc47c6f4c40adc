from __future__ import annotations

from pathlib import Path

import pytest

from ilk import cli, errors
from ilk.errors import DataError, GateError, IlkError, UsageError
from ilk.text import escaped, join_limited, split_commas

ERRORS = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and error.__module__ == errors.__name__
]


@pytest.mark.parametrize("error", ERRORS)
def test_the_command_line_prints_an_error_and_exits_with_its_code(error, monkeypatch, capsys):
    def fail(*_, **__):
        raise error("why\n\x1b[2J")

    monkeypatch.setattr(cli, "build_app", lambda: fail)
    assert cli.run(["check"]) == error.exit_code != 0
    assert capsys.readouterr().err == "ilk: why\\n\\x1b[2J\n"


def test_every_error_can_be_caught_as_one():
    assert len(ERRORS) > 5
    assert all(issubclass(error, IlkError) for error in ERRORS)


def test_scripts_can_tell_usage_data_and_gates_from_failures():
    codes = {DataError.exit_code, GateError.exit_code, IlkError.exit_code, UsageError.exit_code}
    assert len(codes) == 4


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("photos/a b.jpg", "photos/a b.jpg"),
        ("größe/猫.jpg", "größe/猫.jpg"),
        ("two\nlines", r"two\nlines"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("caf\udce9", r"caf\udce9"),
        (Path("a/b"), "a/b"),
    ],
)
def test_a_path_is_shown_without_what_could_harm_a_terminal(path, text):
    assert escaped(path) == text


def test_a_list_is_cut_and_says_so():
    assert join_limited(["a", "b"]) == "a, b"
    assert join_limited("abc", limit=3) == "a, b, c"
    assert join_limited("abcd", limit=3) == "a, b, c and 1 more"
    assert join_limited(["x"] * 2005) == "x, x, x, x, x and 2,000 more"
    assert join_limited([]) == ""


def test_names_in_a_list_are_made_harmless():
    assert join_limited(["a\nb", "c"]) == r"a\nb, c"


def test_comma_separated_names_are_stripped_and_empty_ones_dropped():
    assert split_commas(["size, shape", "day,", " , "]) == ["size", "shape", "day"]
    assert split_commas([]) == []
