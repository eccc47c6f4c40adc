from __future__ import annotations

from pathlib import Path

import pytest

from ilk import errors
from ilk.errors import DataError, DecodeError, IlkError, UsageError
from ilk.text import escaped, join_limited


@pytest.mark.parametrize(
    ("error", "code"),
    [(IlkError, 1), (UsageError, 2), (DataError, 3), (DecodeError, 3), (errors.ModelError, 1)],
)
def test_an_error_knows_its_exit_code(error, code):
    assert error("why").exit_code == code


def test_every_error_can_be_caught_as_one():
    found = [
        x for x in vars(errors).values() if isinstance(x, type) and x.__module__ == "ilk.errors"
    ]
    assert len(found) > 5
    assert all(issubclass(error, IlkError) for error in found)


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
