"""A service over the quarters, asked in-process."""

from __future__ import annotations

import functools

import pytest
from starlette.testclient import TestClient

from ilk.engines import Options
from ilk.inference import Classifier
from ilk.serving import models as home
from ilk.serving.access import Access
from ilk.serving.app import build_app
from ilk.serving.feedback import Feedback
from ilk.serving.limits import Limits
from ilk.serving.models import Models, Place
from ilk.serving.service import Service
from ilk.serving.watch import Watch


@pytest.fixture
def model(tmp_path):
    """The file of a model; what is in it is the same for all."""
    file = tmp_path / "run" / "model.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    return file


@pytest.fixture
def classifier(bundle, engine):
    return Classifier(bundle.spec, engine, "model.safetensors")


@pytest.fixture
def loaded(monkeypatch, classifier):
    """Have every file load as ``classifier``; set ``.found`` to load otherwise."""
    monkeypatch.setattr(home, "load", lambda path, _: loaded.found(path))
    loaded.found = lambda _: classifier
    return loaded


@pytest.fixture
def make_service(loaded, model):
    """Return ``make_service(*places, golden=None, **limits)``, loaded."""
    made = []

    def make(*places, golden=None, load=True, **limits):
        limits, watch = Limits(**limits), Watch()
        chosen = [Place.of(place) for place in places or (f"m@1={model}",)]
        service = Service(Models(chosen, Options(), limits, watch, golden), limits, watch)
        if load:
            service.models.load()
        made.append(service)
        return service

    yield make
    for service in made:
        service.models.close()


@pytest.fixture
def ask(make_service, tmp_path):
    """Return ``ask(service, **access)``: a client; its corrections go to ``corrections``."""
    clients = []

    def make(service=None, *, store=True, **access):
        feedback = Feedback(tmp_path / "corrections") if store else None
        app = build_app(service or make_service(), Access(**access), feedback)
        client = TestClient(app, base_url="http://ilk.test").__enter__()
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(ask):
    return ask()


@pytest.fixture
def png(noise, encoded):
    """Return ``png(seed)``: the bytes of a small picture."""
    return functools.cache(lambda seed=0: encoded(noise(seed), "PNG"))
