"""Pictures of many bits, channels, formats and pixels, from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

NUMBER = 8
BRIGHT = {"day": 3000, "night": 900}


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A folder of TIFFs with 12 bits in 16, the same picture on both pages."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("scans")
    for label, level in BRIGHT.items():
        (folder / label).mkdir()
        for i in range(NUMBER):
            values = np.clip(rng.normal(level, 700, (64, 64)), 0, 4095).astype(np.uint16)
            page = Image.fromarray(values)
            page.save(folder / label / f"{i}.tif", save_all=True, append_images=[page])
    return folder


@pytest.fixture(scope="module")
def trained(ilk, scans, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    done = ilk("train", scans, "--name", "r", "--runs", runs, "--batch", "8")
    return runs / "r", done


def test_a_training_says_the_range_and_the_pages(trained):
    _, done = trained
    assert "16 of 16 pictures have more than 8 bits: 0 to 4095 become 0 to 255" in done.stderr
    assert "16 files have several pages or channels (up to 2): the first is used" in done.stderr
    assert "100.0 %" in done.stdout


def test_the_model_classifies_files_of_its_kind(ilk, trained, scans):
    done = ilk("predict", trained[0], scans / "night", "--json")
    assert {json.loads(line)["label"] for line in done.stdout.splitlines()} == {"night"}


def test_an_export_carries_the_range(ilk, trained, scans, tmp_path):
    done = ilk("export", trained[0], "--format", "onnx", "--output", tmp_path / "m.onnx")
    assert "0 to 4095 become 0 to 255 first" in done.stderr
    done = ilk("predict", tmp_path / "m.onnx", scans / "day", "--json")
    assert {json.loads(line)["label"] for line in done.stdout.splitlines()} == {"day"}


def test_a_check_shows_what_the_network_sees(ilk, scans, tmp_path):
    done = ilk("check", scans, "--quick", "--out", tmp_path / "a")
    assert "0 to 4095 become 0 to 255 (see --range)" in done.stdout
    assert "picture.dark" not in done.stdout
    done = ilk("check", scans, "--quick", "--out", tmp_path / "b", "--range", "0:65535")
    assert "picture.blank" in done.stdout  # as asked; but it may be meant otherwise
    assert "Delete it" not in done.stdout
    done = ilk("check", scans, "--quick", "--out", tmp_path / "c", "--channels", "1")
    assert "several pages" not in done.stdout
    done = ilk("check", scans, "--quick", "--out", tmp_path / "d", "--max-pixels", "100")
    assert "file.bomb" in done.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--range", "x"), "--range x: give auto, full"),
        (("--range", "5:5"), "--range 5:5: give auto, full"),
        (("--channels", "0,1"), "--channels 0,1: give one page or channel"),
    ],
)
def test_flags_that_cannot_be_are_refused(refused, scans, flags, words):
    assert words in refused("train", scans, *flags, code=2)
    assert words in refused("check", scans, *flags, code=2)


def test_a_limit_of_pixels(ilk, trained, scans):
    done = ilk("predict", trained[0], scans / "day/0.tif", "--max-pixels", 100, code=3)
    assert "limit of 100" in done.stdout


def test_web_addresses_are_not_downloaded_and_said_to_be_none(ilk, refused, trained, tmp_path):
    address = "https://example.org/cat.jpg"
    done = ilk("predict", trained[0], address, code=3)
    assert f"{address}: cannot be opened: it is a web address, and ilk does not" in done.stdout
    assert "does not download" in refused("train", "https://example.org/a.zip", code=2)
    (tmp_path / "t.csv").write_text(f"path,label\n{address},cat\n")
    assert "does not download" in refused("train", tmp_path / "t.csv", code=3)
