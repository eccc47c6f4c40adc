from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ilk.checking.findings import files
from ilk.checking.findings.common import COMMON_NUMBER
from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.kinds import GROUPS, KINDS
from ilk.data.catalog import Catalog, LeftOut, Picture
from ilk.data.in_memory import from_arrays
from ilk.data.inspection.facts import Facts
from ilk.data.inspection.inspect import Inspection, inspect
from ilk.data.sources import open_catalog


@pytest.fixture
def root(tmp_path, encoded, noise):
    """Two classes of two sound pictures each."""
    for seed, name in enumerate(["cat/a.png", "cat/b.png", "dog/c.png", "dog/d.png"]):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(noise(seed, (24, 20)), "PNG"))
    return tmp_path / "photos"


def check(data):
    catalog = data if isinstance(data, Catalog) else open_catalog(data)
    return list(files.find(Evidence(inspect(catalog))))


def of_facts(*facts):
    """Return what is found in pictures of which only the facts are known."""
    pictures = tuple(Picture(f"{i}.jpg", "cat") for i in range(len(facts)))
    looks = np.zeros((len(facts), 8), np.float32)
    return list(files.find(Evidence(Inspection(Catalog(pictures), facts, looks, looks))))


def jpeg(width=400, height=300, **changes):
    return Facts(**{"format": "JPEG", "width": width, "height": height, **changes})


def told(findings):
    return [(f.kind, f.severity, [Path(p).name for p in f.paths]) for f in findings]


def test_of_sound_files_nothing_is_said(root):
    assert check(root) == []


def test_every_kind_has_a_name_and_something_to_do():
    assert set(files.ACTIONS) <= set(KINDS)
    assert all(files.ACTIONS.values())


def test_pictures_in_memory_have_no_trouble_as_files():
    assert check(from_arrays(np.zeros((3, 8, 8, 3), np.uint8), "aab")) == []
    assert check(Catalog(())) == []


# --- files that take no part --------------------------------------------------------------------


def test_broken_files_are_errors_by_the_kind_of_their_trouble(root, encoded, noise):
    whole = encoded(noise(9, (200, 150)), "JPEG")
    (root / "cat" / "empty.jpg").write_bytes(b"")
    (root / "cat" / "text.jpg").write_bytes(b"There was a picture here.\n" * 40)
    (root / "dog" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "dog" / "gone.jpg").symlink_to(root / "nothing.jpg")
    found = check(root)
    assert told(found) == [
        ("file.empty", "error", ["empty.jpg"]),
        ("file.not_a_picture", "error", ["text.jpg"]),
        ("file.truncated", "error", ["cut.jpg"]),
        ("file.unreadable", "error", ["gone.jpg"]),
    ]
    assert all(f.detail and f.action for f in found)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.95])
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF"])
def test_every_truncated_file_is_found(root, encoded, noise, name, share):
    whole = encoded(noise(9, (200, 150)), name)
    (root / "dog" / f"cut.{name.lower()}").write_bytes(whole[: round(share * len(whole))])
    ((kind, severity, _),) = told(check(root))
    assert (kind, severity) == ("file.truncated", "error")


def test_a_truncated_file_that_still_gives_a_picture_is_a_warning(root, encoded, noise):
    frames = [noise(seed, (60, 40)) for seed in range(4)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    (root / "cat" / "x.gif").write_bytes(data[: len(data) // 2])
    found = told(check(root))
    assert ("file.incomplete", "warning", ["x.gif"]) in found
    assert "file.incomplete" not in GROUPS["unreadable"]


def test_other_files_are_listed_by_extension(root):
    for name in ("a.txt", "b.txt", "c.xml", "README"):
        (root / "cat" / name).write_text("x")
    found = check(root)
    assert sorted(told(found)) == [
        ("file.ignored", "info", ["README"]),
        ("file.ignored", "info", ["a.txt", "b.txt"]),
        ("file.ignored", "info", ["c.xml"]),
    ]
    assert {f.detail for f in found} == {
        "2 files with the extension .txt, which no picture has",
        "a file with the extension .xml, which no picture has",
        "a file without an extension",
    }


def test_what_somebody_left_out_by_choice_is_no_finding():
    assert check(Catalog((), (LeftOut("x.jpg", "blurred", "cat", unreadable=False),))) == []


def test_a_file_left_out_for_want_of_a_label_is_for_others_to_name(root, write_picture):
    write_picture(root / "stray.png")
    assert check(root) == []


def test_what_the_backbone_could_not_read_is_unreadable():
    (finding,) = check(Catalog((), (LeftOut("x.jpg", "is damaged"),)))
    assert (finding.kind, finding.severity) == ("file.unreadable", "error")


def test_a_folder_that_cannot_be_listed_is_no_file_to_be_moved(root):
    left = LeftOut(str(root / "cat"), "cannot be listed: Permission denied", "cat")
    (finding,) = check(Catalog((), (left,)))
    assert told([finding]) == [("file.unreadable", "error", [])]
    assert finding.detail.endswith("cat cannot be listed: Permission denied")


def test_a_class_folder_without_pictures_is_told_and_not_moved(root):
    (root / "eel").mkdir()
    (finding,) = check(root)
    assert told([finding]) == [("file.ignored", "warning", [])]
    assert finding.detail.endswith("eel is a folder without pictures")


def test_a_row_that_names_a_folder_is_told_as_what_it_is(root, tmp_path):
    (tmp_path / "list.csv").write_text("path,label\nphotos/cat/a.png,cat\nphotos/dog,dog\n")
    (finding,) = check(tmp_path / "list.csv")
    assert told([finding]) == [("file.unreadable", "error", [])]
    assert finding.detail.endswith("photos/dog is a folder, where the table should name a file")


# --- files that change --------------------------------------------------------------------------


def found_after(root, change):
    inspection = inspect(open_catalog(root))
    change(root / "cat" / "a.png")
    return told(files.find(Evidence(inspection)))


def test_a_file_that_changes_during_the_pass_is_an_error(root):
    def rewrite(path):
        path.write_bytes(path.read_bytes() + b"more")

    def touch(path):
        os.utime(path, ns=(1, 1))

    for change in (rewrite, touch, Path.unlink):
        assert found_after(root, change) == [("file.changed", "error", ["a.png"])]


# --- links --------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path, encoded, noise):
    """A folder beside the data, with three pictures in it."""
    (tmp_path / "elsewhere").mkdir()
    for seed, name in enumerate("abc"):
        data = encoded(noise(50 + seed, (24, 20)), "PNG")
        (tmp_path / "elsewhere" / f"{name}.png").write_bytes(data)
    return tmp_path / "elsewhere"


def test_a_link_out_of_the_data_is_a_warning(root, elsewhere):
    (root / "cat" / "x.png").symlink_to(elsewhere / "a.png")
    (root / "cat" / "y.png").symlink_to(root / "dog" / "c.png")
    (finding,) = check(root)
    assert told([finding]) == [("file.link", "warning", ["x.png"])]
    assert finding.detail.endswith("elsewhere/a.png, outside the data folder")


def test_a_class_that_is_a_link_is_told_once(root, elsewhere):
    (root / "eel").symlink_to(elsewhere)
    (finding,) = check(root)
    assert told([finding]) == [("file.link", "warning", [])]
    assert "eel is a link to the folder" in finding.detail


def test_a_linked_class_is_found_from_within_the_folder_too(root, elsewhere, monkeypatch):
    (root / "eel").symlink_to(elsewhere)
    monkeypatch.chdir(root)
    (finding,) = check(".")
    assert finding.detail.startswith("eel is a link to the folder")


def test_a_class_that_is_a_link_within_the_data_is_no_link_out_of_it(root):
    (root / "eel").symlink_to(root / "dog")
    assert [f for f in check(root) if f.kind == "file.link"] == []


@pytest.mark.parametrize("target", ["/nowhere", "gone"])
def test_a_broken_link_beside_the_classes_is_a_warning(root, target):
    (root / "gone").symlink_to(target)
    (finding,) = check(root)
    assert told([finding]) == [("file.link", "warning", [])]
    assert finding.detail.endswith(f"gone is a broken link, to {target}")
    assert finding.action == "Repair or delete it."


def test_links_to_folders_within_a_class_are_not_followed_and_told(root):
    (root / "cat" / "more").symlink_to(root / "dog")
    (root / "cat" / "loop").symlink_to(root)
    found = check(root)
    assert told(found) == [("file.link", "warning", [])] * 2
    assert all("is not followed" in f.detail for f in found)


# --- files that are unusual ---------------------------------------------------------------------


def test_an_extension_that_does_not_match_the_content(root, encoded, noise):
    (root / "cat" / "x.jpg").write_bytes(encoded(noise(7, (24, 20)), "PNG"))
    (root / "cat" / "y.JPEG").write_bytes(encoded(noise(8, (24, 20)), "JPEG"))
    (finding,) = check(root)
    assert told([finding]) == [("file.ending", "info", ["x.jpg"])]
    assert finding.detail == "has the extension .jpg, but is a PNG"


def test_an_animation(root, encoded, noise):
    data = encoded(noise(7, (24, 20)), "GIF", save_all=True, append_images=[noise(8, (24, 20))])
    (root / "cat" / "x.gif").write_bytes(data)
    assert told(check(root)) == [("file.animated", "info", ["x.gif"])]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "CMYK"}, "CMYK"),
        ({"mode": "I;16", "deep": True}, "more than 8 bits"),
        ({"mode": "F", "deep": True}, "more than 8 bits"),
        ({"mode": "RGBA", "transparent": True}, "transparency"),
        ({"mode": "P", "transparent": True}, "transparency"),
        ({"mode": "1"}, "black and white"),
        ({"mode": "LAB"}, "LAB"),
    ],
)
def test_unusual_modes(changes, words):
    (finding,) = of_facts(jpeg(), jpeg(**changes), jpeg())
    assert told([finding]) == [("file.mode", "info", ["1.jpg"])]
    assert words in finding.detail


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_usual_modes(mode):
    assert of_facts(jpeg(), jpeg(mode=mode)) == []


def test_a_picture_that_exif_turns():
    (finding,) = of_facts(jpeg(), jpeg(orientation=6))
    assert told([finding]) == [("file.rotated", "info", ["1.jpg"])]


def test_what_most_pictures_are_like_is_told_once():
    (finding,) = of_facts(*[jpeg(mode="CMYK")] * 60, *[jpeg()] * 40)
    assert (finding.kind, finding.severity, finding.paths) == ("file.mode", "info", ())
    assert finding.detail.startswith("60 of 100 pictures: each has")
    assert len(of_facts(*[jpeg(mode="CMYK")] * 40, *[jpeg()] * 60)) == 40
    assert len(of_facts(*[jpeg(mode="CMYK")] * COMMON_NUMBER)) == COMMON_NUMBER


# --- size and shape -----------------------------------------------------------------------------


def usual(number=20):
    return [jpeg(400 + i, 300) for i in range(number)]


@pytest.mark.parametrize(
    ("width", "height", "severity"),
    [
        (2000, 1500, "info"),
        (90, 70, "info"),
        (20, 16, "warning"),
        (640, 480, "info"),
        (900, 300, "info"),
        (300, 900, "info"),
        (4000, 40, "warning"),
        (900, 700, "info"),
    ],
)
def test_extreme_sizes_and_shapes(width, height, severity):
    (finding,) = of_facts(*usual(), jpeg(width, height))
    assert told([finding]) == [("file.size", severity, ["20.jpg"])]
    assert f"{width:,} x {height:,} pixels" in finding.detail


@pytest.mark.parametrize(("width", "height"), [(500, 375), (300, 300), (300, 400), (540, 405)])
def test_sizes_and_shapes_as_photos_have_them(width, height):
    assert of_facts(*usual(), jpeg(width, height)) == []


def test_where_all_are_alike_none_is_odd():
    assert of_facts(*[jpeg(32, 32)] * 50) == []
    assert of_facts(*[jpeg(900, 100)] * 50) == []
    assert of_facts(jpeg(1, 1)) == []


def test_data_of_many_sizes_has_few_odd_ones():
    rng = np.random.default_rng(0)
    sides = np.exp(rng.normal(6, 0.3, 1000)).astype(int)
    assert len(of_facts(*[jpeg(s, s) for s in sides])) < 5


# --- many files ---------------------------------------------------------------------------------


def test_names_of_any_bytes(root, encoded):
    name = os.fsdecode(b"caf\xe9\n.jpg")
    (root / "cat" / name).write_bytes(encoded(Image.new("RGB", (24, 20)), "GIF"))
    (finding,) = check(root)
    assert finding.kind == "file.ending"
    assert finding.paths == (str(root / "cat" / name),)
