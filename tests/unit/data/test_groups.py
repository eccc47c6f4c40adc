from __future__ import annotations

import pytest

from ilk.data.catalog import Catalog, Picture
from ilk.data.groups import with_groups
from ilk.errors import DataError, UsageError


def catalog(*paths, **columns):
    rows = [{name: values[i] for name, values in columns.items()} for i in range(len(paths))]
    return Catalog(tuple(Picture(p, columns=row) for p, row in zip(paths, rows, strict=True)))


def groups(data, by=None):
    return [p.group for p in with_groups(data, by).pictures]


def test_pictures_are_grouped_by_a_column_by_several_or_by_their_folder():
    data = catalog("a/1.jpg", "a/2.jpg", "b/1.jpg", patient=["P1", "P2", "P1"], eye=["L", "L", "R"])
    assert groups(data, "patient") == ["P1", "P2", "P1"]
    assert groups(data, "patient+eye") == ["P1 L", "P2 L", "P1 R"]
    assert groups(data, "folder") == ["a", "a", "b"]


def test_a_table_s_column_group_is_used_unasked():
    assert groups(catalog("1", "2", group=["x", "y"])) == ["x", "y"]
    assert groups(catalog("1", "2", patient=["x", "y"])) == ["", ""]


def test_a_regular_expression_is_searched_in_the_path():
    data = catalog("cats/P01_a.jpg", "cats/P02_a.jpg", "dogs/P01_b.jpg", "dogs/other.jpg")
    assert groups(data, r"(P\d+)_") == ["P01", "P02", "P01", ""]
    assert groups(data, r"(\w+)/(P\d+)_") == ["cats P01", "cats P02", "dogs P01", ""]


def test_pictures_without_a_group_stand_alone_and_are_counted(caplog):
    assert groups(catalog("1", "2", "3", site=["x", "", "y"]), "site") == ["x", "", "y"]
    assert "1 picture without a group by site" in caplog.text


@pytest.mark.parametrize(
    ("by", "error", "message"),
    [
        ("patient", UsageError, "no column 'patient': the table has site"),
        ("(P", UsageError, "not a regular expression"),
        ("(?:P)", UsageError, "no parentheses"),
        ("(P7)", DataError, "none of the 2 pictures has a group"),
        ("site", DataError, "all 2 pictures are in one group, 'x'"),
    ],
)
def test_what_groups_nothing_is_refused(by, error, message):
    with pytest.raises(error, match=message):
        with_groups(catalog("1", "2", site=["x", "x"]), by)


@pytest.mark.parametrize("name", ["patient (id)", "plate+well"])
def test_a_column_of_any_name_groups(name):
    data = Catalog(tuple(Picture(str(i), columns={name: "xy"[i % 2]}) for i in range(4)))
    assert groups(data, name) == ["x", "y", "x", "y"]


@pytest.mark.parametrize("by", ["(a{99999999999})", "(" * 3000 + ")" * 3000])
def test_expressions_beyond_all_bounds_are_refused(by):
    with pytest.raises(UsageError, match="not a regular expression"):
        with_groups(catalog("1", "2"), by)
