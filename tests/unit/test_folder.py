from __future__ import annotations

import hashlib

from ilk.folder import digest_of, size_of


def test_a_files_digest_is_sha256(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"network")
    assert digest_of(tmp_path / "m.onnx") == hashlib.sha256(b"network").hexdigest()
    assert size_of(tmp_path / "m.onnx") == 7


def test_a_folders_digest_sees_names_and_contents(tmp_path):
    found = set()
    for names in (("a", "b"), ("a", "c"), ("b", "a")):
        folder = tmp_path / "-".join(names)
        folder.mkdir()
        for i, name in enumerate(names):
            (folder / name).write_bytes(bytes([i]))
        found.add(digest_of(folder))
        assert size_of(folder) == 2
    assert len(found) == 3
