"""The report in a real browser: Debian's chromium, headless."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def report(tiny, ilk, trained, tmp_path_factory):
    """A report with mistakes in it: half of the pictures have a wrong label."""
    root = tmp_path_factory.mktemp("report")
    tiny.folder(root / "wrong", 6)
    (root / "wrong" / "red").rename(root / "wrong" / "aside")
    (root / "wrong" / "blue").rename(root / "wrong" / "red")
    (root / "wrong" / "aside").rename(root / "wrong" / "blue")
    ilk("evaluate", trained.model, "wrong", "--slices", "shape", "--corruptions",
        "--corrupted", "2", cwd=root, plots=True)  # fmt: skip
    return root / "runs" / "evaluate" / "report.html"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_opens_offline_and_can_be_read(browser, report, width, dark):
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(report.as_uri())
    page.evaluate("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
    page.wait_for_function("[...document.images].every(i => i.complete)")
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert [url for url in asked if url.startswith("file:")] == [report.as_uri()]
    assert said == []
    sizes = page.evaluate("[...document.images].map(i => i.naturalWidth)")
    assert len(sizes) > 5
    assert min(sizes) > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("getComputedStyle(document.body).fontSize") == "16px"
    for heading in ("What to do next", "Confusion matrix", "Most confident mistakes", "By shape",
                    "Robustness to corruptions", "Details"):  # fmt: skip
        assert page.get_by_role("heading", name=heading).first.is_visible()
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is not dark
    context.close()


def test_the_page_prints(browser, report):
    page = browser.new_page()
    page.goto(report.as_uri())
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert len(printed) > 20_000


def test_the_page_stays_small(report):
    assert report.stat().st_size < 5_000_000
