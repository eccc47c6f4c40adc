from __future__ import annotations

import json
import logging

import pytest


def test_without_the_key_only_health_page_and_metrics_are_open(ask, png):
    client = ask(api_key="open sesame")
    for path in ("/", "/docs", "/openapi.json", "/metrics", "/v2/health/ready", "/page/page.js"):
        assert client.get(path).status_code == 200
    for headers in ({}, {"x-api-key": "wrong"}, {"authorization": "Basic open sesame"}):
        assert client.post("/predict", content=png(), headers=headers).status_code == 401
        assert client.get("/about", headers=headers).status_code == 401
        assert client.post("/reload", headers=headers).status_code == 401
    for headers in ({"x-api-key": "open sesame"}, {"authorization": "Bearer open sesame"}):
        assert client.post("/predict", content=png(), headers=headers).status_code == 200


def test_pages_of_other_sites_are_refused_unless_allowed(ask, client, png):
    other = {"origin": "https://evil.example"}
    assert client.post("/predict", content=png(), headers=other).status_code == 403
    assert client.post("/reload", headers={"origin": "null"}).status_code == 403
    own = {"origin": "http://ilk.test"}
    assert client.post("/predict", content=png(), headers=own).status_code == 200
    allowed = ask(origins=("https://evil.example",))
    answer = allowed.post("/predict", content=png(), headers=other)
    assert answer.headers["access-control-allow-origin"] == "https://evil.example"


def test_an_allowed_page_passes_preflight_and_can_read_why_it_was_refused(ask, png):
    other = {"origin": "https://shop.example"}
    client = ask(api_key="k", origins=("https://shop.example",))
    wanted = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-api-key",
    }
    preflight = client.options("/predict", headers=other | wanted)
    assert preflight.status_code == 200
    refused = client.post("/predict", content=png(), headers=other)
    assert refused.status_code == 401
    for found in (preflight, refused):
        assert found.headers["access-control-allow-origin"] == "https://shop.example"
    assert "retry-after" in refused.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "host, origin, status",
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000", 200),
        ("localhost:8000", "http://localhost:8000", 200),
        ("[::1]:8000", "http://[::1]:8000", 200),
        ("evil.example", "http://evil.example", 403),  # a name that now means this machine
        ("ilk.test", "http://[", 403),
    ],
)
def test_a_local_service_accepts_only_pages_of_loopback_addresses(ask, png, host, origin, status):
    headers = {"host": host, "origin": origin}
    assert ask(local=True).post("/predict", content=png(), headers=headers).status_code == status


def test_refusals_are_counted_by_route(ask, png):
    client = ask(api_key="k")
    client.post("/predict", content=png())
    client.post("/somewhere/predict", content=png())
    metrics = client.get("/metrics").text
    assert 'ilk_requests_total{code="401",route="/predict"} 1.0' in metrics
    assert 'ilk_requests_total{code="401",route="other"} 1.0' in metrics


def test_a_log_line_identifies_the_request_and_says_nothing_about_the_picture(client, png, caplog):
    with caplog.at_level(logging.INFO, "ilk.requests"):
        answer = client.post(
            "/predict?top=1", files={"image": ("secret.png", png())}, headers={"x-request-id": "r1"}
        )
        other = client.post("/predict", content=b"", headers={"x-request-id": "no good id"})
    assert answer.headers["x-request-id"] == "r1"
    assert len(other.headers["x-request-id"]) == 32
    lines = [json.loads(r.message) for r in caplog.records if r.name == "ilk.requests"]
    first, second = lines[-2:]
    assert (first["id"], first["code"], first["path"]) == ("r1", 200, "/predict")
    assert (first["model"], first["pictures"]) == ("m@1", 1)
    assert second["code"] == 400
    assert "secret" not in caplog.text
