from __future__ import annotations

import pytest

import ilk
from ilk.cli.serve import serve


@pytest.mark.parametrize(
    "formats, names", [("jpeg", ("JPEG",)), ("JPEG,", ("JPEG",)), (" png , GIF", ("PNG", "GIF"))]
)
def test_names_of_formats_are_separated_by_commas(monkeypatch, formats, names):
    given = {}
    monkeypatch.setattr(ilk, "serve", lambda _, **options: given.update(options), raising=False)
    serve(["m"], formats=formats)
    assert given["formats"] == names
