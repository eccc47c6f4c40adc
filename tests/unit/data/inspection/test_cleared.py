from __future__ import annotations

import pytest

from ilk.data.inspection.cleared import read_cleared
from ilk.errors import DataError


def test_a_line_clears_its_pictures_relative_to_the_file_or_the_working_directory(
    tmp_path, monkeypatch, caplog
):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    known = {str(tmp_path / "a.jpg"), str(here / "b, c.jpg"), str(here / "d.jpg")}
    file = tmp_path / "cleared.csv"
    file.write_text('# looked at\n\na.jpg, "b, c.jpg"\na.jpg,d.jpg,gone.jpg\n')
    first, second = read_cleared(file, known)
    assert first == {str(tmp_path / "a.jpg"), str(here / "b, c.jpg")}
    assert second >= {str(tmp_path / "a.jpg"), str(here / "d.jpg")}
    assert "not in the data: gone.jpg" in caplog.text
    assert read_cleared(None, known) == []


def test_a_line_with_one_picture_or_a_missing_file_is_refused(tmp_path):
    file = tmp_path / "cleared.csv"
    with pytest.raises(DataError, match="cannot be read"):
        read_cleared(file, ())
    file.write_text("a.jpg,b.jpg\na.jpg\n")
    with pytest.raises(DataError, match=r"Line 2 .* names 1 picture"):
        read_cleared(file, ())
