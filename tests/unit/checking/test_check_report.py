from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from ilk.checking import report
from ilk.checking.findings.records import Findings
from ilk.data.catalog import Catalog, Picture
from ilk.evaluation import thumbnails

EVIL = "<script>alert('x')</script>\"'>&.png"


def catalog_of(*paths, source="data"):
    rng = np.random.default_rng(0)
    return Catalog(
        tuple(
            Picture(p, "cat", "train", content=rng.integers(0, 256, (9, 12, 3), np.uint8))
            for p in paths
        ),
        source=source,
    )


def page_of(findings, folder):
    report.write(folder, findings)
    return (folder / "check.html").read_text(encoding="utf-8")


class Balanced(HTMLParser):
    """Complains of tags that are not closed in their order."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_json_is_that_of_the_command(finding, tmp_path):
    findings = Findings(3, (finding("outlier", "data/a.png"),), catalog_of("data/a.png"))
    report.write(tmp_path, findings)
    record = json.loads((tmp_path / "check.json").read_text())
    assert record == json.loads(json.dumps(findings.to_dict()))
    assert set(record["findings"][0]) >= {"kind", "severity", "paths", "detail", "action"}


def test_the_page_is_self_contained_and_well_formed(finding, tmp_path):
    found = (
        finding("outlier", "data/a.png"),
        finding("duplicate.near", "data/a.png", "data/b.png"),
        finding("balance.few", severity="error"),
        finding("file.empty", "data/gone.png"),
    )
    page = page_of(Findings(3, found, catalog_of("data/a.png", "data/b.png")), tmp_path)
    assert not re.search(r"https?:|(?:src|href)=[\"'](?!data:|#)|url\(|@import|<script|<link", page)
    assert "default-src 'none'" in page
    assert page.count("<img") == 3
    assert page.count("cannot be shown") == 1
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []


def test_hostile_names_are_escaped_wherever_they_show(finding, tmp_path):
    path = f"data/{EVIL}"
    rest = [finding("outlier", path, detail=EVIL, action=EVIL) for _ in range(200)]
    found = (finding(EVIL, path, path, detail=EVIL), *rest)
    page = page_of(Findings(1, found, catalog_of(path, source=EVIL)), tmp_path)
    assert "<script" not in page
    assert "\"'>" not in page
    assert "&lt;script&gt;alert" in page


def test_bytes_that_are_no_text_and_control_characters_are_shown_harmlessly(finding, tmp_path):
    path = "data/caf\udce9\u202egnp.exe\x1b.png"
    page = page_of(Findings(1, (finding("outlier", path),), catalog_of(path)), tmp_path)
    assert r"caf\udce9\u202egnp.exe\x1b.png" in page


def test_kinds_come_by_severity_and_stay_together(finding):
    found = (
        finding("outlier", severity="info"),
        finding("picture.dark"),
        finding("leakage.near", severity="error"),
        finding("picture.blank"),
        finding("picture.dark"),
    )
    laid_out = report.sections(Findings(5, found, Catalog(())))
    assert [(s.severity, s.kind, s.count) for s in laid_out] == [
        ("error", "leakage.near", 1),
        ("warning", "picture.dark", 2),
        ("warning", "picture.blank", 1),
        ("info", "outlier", 1),
    ]


def test_copies_stand_side_by_side_with_their_labels_and_splits(finding):
    catalog = catalog_of("data/train/a.png", "data/b.png")
    pair = finding("leakage.near", "data/train/a.png", "data/b.png", detail="nearly the same")
    (section,) = report.sections(Findings(2, (pair,), catalog))
    (item,) = section.groups
    assert [f.name for f in item.figures] == ["train/a.png", "b.png"]
    assert item.figures[0].tags == ("cat", "train")
    assert item.detail == "nearly the same"


def test_a_large_group_shows_the_first_and_counts_the_rest(finding):
    paths = [f"data/{i}.png" for i in range(100)]
    (section,) = report.sections(
        Findings(100, (finding("duplicate.exact", *paths),), catalog_of(*paths))
    )
    assert len(section.groups[0].figures) == report.PICTURES_PER_FINDING
    assert section.groups[0].more == 100 - report.PICTURES_PER_FINDING


def test_what_the_page_does_not_show_is_counted(finding, monkeypatch):
    monkeypatch.setattr(report, "PICTURES_PER_KIND", 3)
    monkeypatch.setattr(report, "LINES_PER_KIND", 4)
    found = tuple(finding("outlier", f"data/{i}.png") for i in range(10))
    (section,) = report.sections(Findings(10, found, catalog_of(*(p.paths[0] for p in found))))
    assert [len(section.singles), len(section.lines), section.more] == [3, 4, 3]
    assert section.lines[0].names == ("3.png",)


def test_the_page_stays_small_however_much_was_found(finding, tmp_path, monkeypatch):
    full = "data:image/jpeg;base64," + "A" * (4 * thumbnails.LARGEST // 3 + 4)
    monkeypatch.setattr(thumbnails, "data_uri", lambda picture, conversion: full)
    kinds = [f"kind.{i}" for i in range(30)]
    found = [
        finding(
            kinds[i % 30], *(f"data/{'<' * 200}{i}-{j}" for j in range(i % 3)), detail="&" * 900
        )
        for i in range(6_000)
    ]
    page = page_of(Findings(6_000, tuple(found), Catalog(())), tmp_path)
    assert len(page.encode()) < 5_000_000
    assert "more: see check.json" in page


@pytest.mark.parametrize("shape", [(2000, 3000), (40, 900), (5, 5)])
def test_a_thumbnail_keeps_the_shape_and_is_never_large(shape):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    uri = thumbnails.data_uri(Picture("a", content=noise))
    data = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    assert len(data) <= thumbnails.LARGEST
    with Image.open(io.BytesIO(data)) as image:
        assert max(image.size) == min(thumbnails.SIDE, max(shape))
        assert image.width / image.height == pytest.approx(shape[1] / shape[0], rel=0.15)


def test_a_picture_that_cannot_be_read_has_no_thumbnail(tmp_path):
    assert thumbnails.data_uri(Picture(str(tmp_path / "gone.png"))) is None
    assert thumbnails.data_uri(Picture("a", content=b"\xff\xd8\xff broken")) is None


@pytest.mark.parametrize(
    ("severity", "said"),
    [
        ("error", "Fix the errors before training"),
        ("warning", "look through the warnings"),
        ("info", "You can train on this data."),
    ],
)
def test_the_verdict_follows_the_most_severe_finding(finding, severity, said):
    found = (finding("outlier", "a", "b", severity=severity), finding("x", "b", severity="info"))
    text = report.verdict(Findings(1000, found))
    assert said in text
    assert text.endswith("affect 2 of 1,000 files.")


def test_the_verdict_where_nothing_is_wrong(tmp_path):
    page = page_of(Findings(24, (), catalog_of("data/a.png")), tmp_path)
    assert "No problems found in 24 files" in page
    assert "<h2>Findings</h2>" not in page
