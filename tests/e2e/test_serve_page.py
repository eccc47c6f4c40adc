"""The page of ``ilk serve`` in a real browser: Debian's chromium."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from service import Served


@pytest.fixture(scope="module")
def served(browser, trained, environment, tmp_path_factory):
    assert browser  # or skipped
    feedback = tmp_path_factory.mktemp("feedback") / "fixes.sqlite"
    service = Served(
        trained.run,
        "--feedback",
        feedback,
        "--linger",
        "0",
        "--deadline",
        "120",
        environment=environment,
    )
    service.feedback = feedback
    yield service
    service.stop()


@pytest.fixture
def files(pictures, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((pictures / "red" / "red01.jpg").read_bytes()[:200])
    return [str(pictures / "blue" / "blue01.jpg"), str(broken),
            str(pictures / "red" / "red00.png")]  # fmt: skip


DROP = """async files => {
  const transfer = new DataTransfer();
  for (const [name, bytes] of files)
    transfer.items.add(new File([Uint8Array.from(bytes)], name));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
}"""


def drop(page, files):
    """Drop files on the page, as from a file manager."""
    page.evaluate(DROP, [[Path(file).name, list(Path(file).read_bytes())] for file in files])


@pytest.mark.parametrize("width, scheme", [(1280, "light"), (390, "dark")])
def test_of_three_pictures_one_is_broken_and_one_is_corrected(
    browser, served, files, width, scheme, ilk, tmp_path
):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(served.url)
    page.get_by_text("3 classes:").wait_for()
    drop(page, files)
    page.locator(".waiting").first.wait_for(state="detached")
    page.get_by_text("1 could not be read").wait_for()
    cards = page.locator(".card").all()
    labels = [card.locator(".label").inner_text() for card in cards]
    assert labels[0].startswith(("blue", "Unknown", "Not sure"))
    assert "damaged" in labels[1]
    assert labels[2].startswith(("red", "Unknown", "Not sure"))
    assert cards[0].locator(".ranks li").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth") <= width

    explain = cards[0].locator(".explain")
    explain.click()
    cards[0].locator(".heat").wait_for(timeout=120_000)
    assert explain.get_attribute("aria-pressed") == "true"

    wrong = cards[2].locator(".wrong")
    wrong.locator(".open").focus()
    page.keyboard.press("Enter")
    wrong.locator("select").select_option("green")
    wrong.get_by_text("Send").press("Enter")
    wrong.get_by_text("Saved as green").wait_for()
    with sqlite3.connect(served.feedback) as database:
        found = database.execute("select label from corrections").fetchall()
    database.close()
    assert found == [("green",)]
    ilk("export-feedback", served.feedback, "--output", tmp_path / "fixes")
    table = (tmp_path / "fixes" / "catalog.csv").read_text().splitlines()
    assert table[0] == "path,label,predicted,model"
    assert ".png,green,red,colours@" in table[1]

    assert [url for url in asked if not url.startswith((served.url, "blob:"))] == []
    assert said == []
    page.close()


def test_every_control_has_a_name_and_the_summary_is_announced(browser, served, files):
    page = browser.new_page()
    page.goto(served.url)
    page.get_by_text("3 classes:").wait_for()
    page.set_input_files("#files", files)
    own = page.locator(".own")
    assert own.count() == 3 and all(picture.get_attribute("alt") for picture in own.all())
    page.locator(".waiting").first.wait_for(state="detached")
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, select, input:not([hidden])')]"
        ".filter(e => e.offsetParent && !(e.textContent.trim() || e.labels?.length)).length"
    )
    assert unnamed == 0
    assert page.locator("#summary").get_attribute("role") == "status"
    assert own.first.get_attribute("alt").startswith("blue01.jpg: ")
    page.close()


def test_docs_are_rendered_without_the_internet(browser, served):
    page = browser.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{served.url}/docs")
    page.get_by_text("Classify pictures").first.wait_for()
    assert [url for url in asked if not url.startswith((served.url, "data:"))] == []
    page.close()
