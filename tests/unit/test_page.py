from __future__ import annotations

import sys

import pytest

from ilk import page

TEMPLATE = """{% extends "base.html" %}
{% block style %}.mine { color: red }{% endblock %}
{% block body %}<p>{{ text }} {{ number|thousands }}</p>{% endblock %}"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a template in it."""
    folder = tmp_path / "own_pages"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "own.html").write_text(TEMPLATE)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder.name
    sys.modules.pop(folder.name, None)


def test_a_page_is_the_base_with_a_template_in_it(package, tmp_path):
    path = tmp_path / "page.html"
    page.write(path, package, "own.html", title="<b>", text="<i>ü\udce9", number=1234)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert text.rstrip().endswith("</html>")
    assert text.count("<style>") == text.count("</style>") == 1
    assert ".mine { color: red }" in text
    assert "<title>&lt;b&gt;</title>" in text
    assert r"<p>&lt;i&gt;ü\udce9 1,234</p>" in text
