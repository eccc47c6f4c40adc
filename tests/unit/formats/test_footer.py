from __future__ import annotations

import zipfile

import pytest

from ilk.formats.footer import with_footer, without_footer, zipped_metadata


@pytest.mark.parametrize(
    "network", [b"", b"\x10\x00\x00\x00ET12 and more", b"PK\x03\x04 by chance"]
)
def test_metadata_behind_a_file_is_found_and_the_file_is_as_before(tmp_path, network):
    whole = with_footer(network, {"ilk.spec": "ü {}", "ilk.sha256": "0"})
    (tmp_path / "m.pte").write_bytes(whole)
    assert whole.startswith(network)
    assert zipped_metadata(tmp_path / "m.pte") == {"ilk.spec": "ü {}", "ilk.sha256": "0"}


def test_the_same_metadata_gives_the_same_bytes():
    assert with_footer(b"x", {"ilk.a": "1"}) == with_footer(b"x", {"ilk.a": "1"})


@pytest.mark.parametrize("content", [b"", b"no zip", with_footer(b"x", {"ilk.a": "1"})[:-5]])
def test_where_there_is_no_whole_zip_there_is_no_metadata(tmp_path, content):
    (tmp_path / "m.pte").write_bytes(content)
    assert zipped_metadata(tmp_path / "m.pte") == {}


def test_other_files_in_a_zip_are_not_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as archive:
        archive.writestr("m/data.pkl", b"\xff not text")
        archive.writestr("m/extra/ilk.spec", "{}")
    assert zipped_metadata(tmp_path / "m.pt2") == {"ilk.spec": "{}"}


def test_the_network_is_what_comes_before_the_footer(tmp_path):
    (tmp_path / "m.engine").write_bytes(with_footer(b"network", {"ilk.a": "1"}))
    assert without_footer(tmp_path / "m.engine") == b"network"
