from __future__ import annotations

import base64
import re

import numpy as np
import pytest

import ilk
from ilk.evaluation import report
from ilk.evaluation.mistakes import MAX_IN_REPORT

EVIL = "<script>alert('x')</script>"
PNG = b"\x89PNG not really"


@pytest.fixture
def cats(evaluated):
    def call(right=3, wrong=1, split="test"):
        predicted = [0] * right + [1] * wrong + [1] * 4
        labels = ["cat"] * (right + wrong) + ["dog"] * 4
        return evaluated(labels, predicted, ("cat", "dog"), split=split)

    return call


def page_of(evaluation, tmp_path, **facts):
    plot = tmp_path / "plot.png"
    plot.write_bytes(PNG)
    path = tmp_path / "report.html"
    report.write(path, evaluation, title=f"run {EVIL}", facts=facts, plots={"confusion": plot})
    return path.read_text(encoding="utf-8")


def test_the_page_is_self_contained(cats, tmp_path):
    page = page_of(cats(), tmp_path)
    assert not re.search(r"https?:|(?:src|href)=[\"'](?!data:)|url\(|@import|<script|<link", page)
    assert f"data:image/png;base64,{base64.b64encode(PNG).decode()}" in page
    assert "default-src 'none'" in page


def test_names_are_escaped_wherever_they_show(evaluated, tmp_path):
    classes = (EVIL, "b", "<i>gone</i>")
    found = evaluated([EVIL, EVIL, "b", "<u>fox</u>"], np.array([0, 1, 0, 0]), classes)
    page = page_of(found, tmp_path, Data=EVIL)
    for tag in ("<script", "<i>", "<u>"):
        assert tag not in page
    for tag in ("&lt;script", "&lt;i&gt;gone", "&lt;u&gt;fox"):
        assert tag in page


def test_what_cannot_be_encoded_does_not_stop_the_report(evaluated, tmp_path):
    found = evaluated(["caf\udce9", "b"], np.array([0, 1]), ("caf\udce9", "b"))
    assert r"caf\udce9" in page_of(found, tmp_path)


def test_the_page_shows_scores_with_their_intervals_and_facts(cats, tmp_path):
    page = page_of(cats(), tmp_path, Time="1.5 s")
    assert "87.5 %" in page
    assert "n&nbsp;=&nbsp;8" in page
    assert "<td>Time</td><td>1.5 s</td>" in page


def test_the_verdict_says_what_the_score_means(cats):
    said = report.verdict(cats(right=3, wrong=1))
    assert said.startswith("7 of 8 held-out pictures are classified correctly: about one mistake")
    assert "The 95 % confidence interval of the accuracy is" in said
    assert "Weakest class: cat, with a recall of 75 %." in said


def test_the_verdict_of_a_perfect_score_still_gives_the_interval(cats):
    said = report.verdict(cats(right=4, wrong=0))
    assert said.startswith("All 8 held-out pictures are classified correctly.")
    assert "67.6 to 100.0 %" in said


@pytest.mark.parametrize("split", ["train", None])
def test_the_verdict_calls_held_out_only_what_was(cats, split):
    assert "held-out" not in report.verdict(cats(split=split))


def test_the_verdict_of_a_bad_score_is_not_one_mistake_in_one(evaluated):
    said = report.verdict(evaluated(["cat"] * 9 + ["dog"], np.ones(10, np.int64), ("cat", "dog")))
    assert "mistake in 1" not in said


def test_the_page_stays_small_with_many_mistakes(evaluated, tmp_path):
    """Noise is what compresses worst; the names are as long as names can be."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 160, 160, 3), np.uint8)
    names = tuple(f"{k:02d}-{'x' * 200}" for k in range(20))
    pictures = ilk.from_arrays(noise, [names[i % 20] for i in range(300)]).pictures
    targets = np.arange(300) % 20
    probabilities = np.full((300, 20), 0.1 / 19, np.float32)
    probabilities[np.arange(300), (targets + 1) % 20] = 0.9
    found = evaluated(None, probabilities, names, pictures=pictures)
    page = page_of(found, tmp_path)
    shown = page.count("data:image/jpeg")
    assert shown == report.MAX_PAIRS * report.MAX_EXAMPLES + MAX_IN_REPORT
    assert shown < len(found.mistakes.all)
    assert len(page) < 1_000_000
