from __future__ import annotations

import asyncio
import threading

from starlette.testclient import TestClient

from ilk.errors import ModelError
from ilk.serving import app
from ilk.serving.middleware import AccessPolicy
from ilk.serving.service import LARGE_BODY


def test_a_check_that_fails_is_not_the_last_one(ask, make_service, monkeypatch, caplog):
    service, again = make_service(), threading.Event()
    outcomes = iter([RuntimeError("no more threads")])

    def check():
        for error in outcomes:
            raise error
        again.set()

    monkeypatch.setattr(app, "CHECK_S", 0.01)
    monkeypatch.setattr(service.models, "check", check)
    ask(service)
    assert again.wait(10)
    assert "no more threads" in caplog.text


def test_no_thread_is_left_of_a_service_that_ended(make_service, png):
    service, threads = make_service(), []

    def note(*_):
        threads.append(threading.current_thread())
        raise ModelError("It cannot be read.")

    def parse():
        threads.append(threading.current_thread())

    service.open_explainer = note
    with TestClient(app.build_app(service, AccessPolicy()), "http://ilk.test") as client:
        assert client.post("/explain", content=png()).status_code == 503
        asyncio.run(service.offload(bytes(LARGE_BODY), parse))
    assert len(threads) == 2
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_it_is_ready_once_the_models_are_loaded(ask, make_service, png):
    service = make_service(load=False)
    client = ask(service)
    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/v2/health/ready").status_code == 503
    assert client.post("/predict", content=png()).status_code == 503
    service.models.load()
    assert client.get("/v2/health/ready").status_code == 200
    assert client.post("/predict", content=png()).status_code == 200


def test_while_it_shuts_down_it_is_not_ready_but_still_answers(ask, make_service, png):
    service = make_service()
    client = ask(service)
    service.draining = True
    assert client.get("/v2/health/ready").status_code == 503
    answer = client.post("/predict", content=png())
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")


def test_the_openapi_document_asks_for_the_key(ask, client):
    assert ask(api_key="k").get("/openapi.json").json()["security"] == [{"key": []}]
    assert "security" not in client.get("/openapi.json").json()


def test_the_page_loads_nothing_from_elsewhere(client):
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for name in ("page.js", "page.css", "icon.svg"):
        assert f"/page/{name}" in page.text
        text = client.get(f"/page/{name}").text
        assert "https://" not in text
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert client.get("/page/../app.py").status_code == 404
    docs = client.get("/docs").text
    assert "https://" not in docs
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200


def test_the_page_learns_about_the_models(client):
    about = client.get("/about").json()
    (model,) = about["models"]
    assert model["classes"] == ["cat", "dog", "eel"]
    assert model["explains"]
    assert about["feedback"]
