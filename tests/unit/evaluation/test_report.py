from __future__ import annotations

import base64
import re
from dataclasses import replace

import numpy as np
import pytest

import ilk
from ilk.evaluation import report
from ilk.evaluation.mistakes import find_mistakes
from ilk.evaluation.result import score

EVIL = "<script>alert('x')</script>"
PNG = b"\x89PNG not really"


def evaluated(right=3, wrong=1, split="test"):
    found = score(["cat"] * (right + wrong) + ["dog"] * 4, guesses(right, wrong), ("cat", "dog"))
    return replace(found, split=split)


def guesses(right, wrong):
    return np.array([0] * right + [1] * wrong + [1] * 4)


def page_of(evaluation, tmp_path, **facts):
    plot = tmp_path / "plot.png"
    plot.write_bytes(PNG)
    path = tmp_path / "report.html"
    report.write(path, evaluation, title=f"run {EVIL}", facts=facts, plots={"confusion": plot})
    return path.read_text(encoding="utf-8")


def test_the_page_is_self_contained(tmp_path):
    page = page_of(evaluated(), tmp_path)
    assert not re.search(r"https?:|(?:src|href)=[\"'](?!data:)|url\(|@import|<script|<link", page)
    assert f"data:image/png;base64,{base64.b64encode(PNG).decode()}" in page
    assert "default-src 'none'" in page


def test_names_are_escaped_wherever_they_show(tmp_path):
    classes = (EVIL, "b", "<i>gone</i>")
    found = score([EVIL, EVIL, "b", "<u>fox</u>"], np.array([0, 1, 0, 0]), classes)
    page = page_of(found, tmp_path, Data=EVIL)
    for tag in ("<script", "<i>", "<u>"):
        assert tag not in page
    for tag in ("&lt;script", "&lt;i&gt;gone", "&lt;u&gt;fox"):
        assert tag in page


def test_what_cannot_be_encoded_does_not_stop_the_report(tmp_path):
    found = score(["caf\udce9", "b"], np.array([0, 1]), ("caf\udce9", "b"))
    assert r"caf\udce9" in page_of(found, tmp_path)


def test_the_page_tells_scores_with_their_intervals_and_facts(tmp_path):
    page = page_of(evaluated(), tmp_path, Time="1.5 s")
    assert "87.5 %" in page
    assert "n&nbsp;=&nbsp;8" in page
    assert "<td>Time</td><td>1.5 s</td>" in page


def test_the_verdict_says_what_the_score_means():
    said = report.verdict(evaluated(right=3, wrong=1))
    assert said.startswith("7 of 8 held-out pictures are named rightly: about one mistake in 8.")
    assert "with 95 % confidence" in said
    assert said.endswith("Weakest class: cat, found in 75 % of cases.")


def test_the_verdict_of_a_perfect_score_still_gives_the_interval():
    said = report.verdict(evaluated(right=4, wrong=0))
    assert said.startswith("All 8 held-out pictures are named rightly.")
    assert "between 67.6 and 100.0 %" in said


@pytest.mark.parametrize("split", ["train", None])
def test_the_verdict_calls_held_out_only_what_was(split):
    assert "held-out" not in report.verdict(evaluated(split=split))


def test_the_verdict_of_a_bad_score_is_not_one_mistake_in_one():
    said = report.verdict(score(["cat"] * 9 + ["dog"], np.ones(10, np.int64), ("cat", "dog")))
    assert "mistake in 1" not in said


def test_the_page_stays_small_however_many_pictures_are_named_wrongly(tmp_path):
    """Noise is what compresses worst; the names are as long as names can be."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 160, 160, 3), np.uint8)
    names = tuple(f"{k:02d}-{'x' * 200}" for k in range(20))
    pictures = ilk.from_arrays(noise, [names[i % 20] for i in range(300)]).pictures
    targets = np.arange(300) % 20
    probabilities = np.full((300, 20), 0.1 / 19, np.float32)
    probabilities[np.arange(300), (targets + 1) % 20] = 0.9
    found = replace(
        score([str(p.label) for p in pictures], probabilities.argmax(axis=1), names),
        mistakes=find_mistakes(pictures, probabilities, targets, names),
    )
    page = page_of(found, tmp_path)
    shown = page.count("data:image/jpeg")
    assert shown == report.PAIRS * report.EXAMPLES + report.WORST
    assert shown < len(found.mistakes.all)
    assert len(page) < 1_000_000
