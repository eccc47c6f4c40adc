"""A service over the quarters, called in-process."""

from __future__ import annotations

import functools
from contextlib import ExitStack, contextmanager

import pytest
from starlette.testclient import TestClient

from ilk.engines import Options
from ilk.inference.classifier import Classifier
from ilk.serving import registry
from ilk.serving.app import build_app
from ilk.serving.feedback import Feedback
from ilk.serving.limits import Limits
from ilk.serving.metrics import Metrics
from ilk.serving.middleware import AccessPolicy
from ilk.serving.registry import ModelRegistry, ModelSource
from ilk.serving.service import Service


def write_model(folder):
    """Write the file of a model; its content is never read as such."""
    file = folder / "run" / "model.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    return file


def new_service(model, *sources, golden=None, load=True, **limits):
    limits, metrics = Limits(**limits), Metrics()
    chosen = [ModelSource.parse(source) for source in sources or (f"m@1={model}",)]
    service = Service(ModelRegistry(chosen, Options(), limits, metrics, golden), limits, metrics)
    if load:
        service.models.load()
    return service


@contextmanager
def new_client(service, store=None, **policy):
    app = build_app(service, AccessPolicy(**policy), store)
    with TestClient(app, base_url="http://ilk.test") as client:
        yield client


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path)


@pytest.fixture
def classifier(bundle, engine):
    return Classifier(bundle.spec, engine, "model.safetensors")


@pytest.fixture
def loaded(monkeypatch, classifier):
    """Let every file load as ``classifier``; set ``.found`` to load something else."""
    monkeypatch.setattr(registry, "load", lambda path, **_: loaded.found(path))
    loaded.found = lambda _: classifier
    return loaded


@pytest.fixture
def make_service(loaded, model):
    """Return ``make_service(*sources, golden=None, load=True, **limits)``."""
    with ExitStack() as stack:

        def make(*sources, **options):
            service = new_service(model, *sources, **options)
            stack.callback(service.models.close)
            return service

        yield make


@pytest.fixture
def ask(make_service, tmp_path):
    """Return ``ask(service, **policy)``: a client; its corrections go to ``corrections``."""
    with ExitStack() as stack:

        def make(service=None, *, store=True, **policy):
            feedback = Feedback(tmp_path / "corrections") if store else None
            return stack.enter_context(new_client(service or make_service(), feedback, **policy))

        yield make


@pytest.fixture(scope="module")
def shared_classifier(make_quarters):
    bundle, engine = make_quarters(("cat", "dog", "eel"))
    return Classifier(bundle.spec, engine, "model.safetensors")


@pytest.fixture(scope="module")
def shared_service(shared_classifier, tmp_path_factory):
    """One service for all tests of a file; none of them may change it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "load", lambda *_, **__: shared_classifier)
        service = new_service(write_model(tmp_path_factory.mktemp("served")))
    yield service
    service.models.close()


@pytest.fixture(scope="module")
def client(shared_service, tmp_path_factory):
    """A client of the shared service."""
    corrections = tmp_path_factory.mktemp("feedback") / "corrections"
    with new_client(shared_service, Feedback(corrections)) as client:
        yield client


@pytest.fixture
def png(noise, encoded):
    """Return ``png(seed)``: the bytes of a small picture."""
    return functools.cache(lambda seed=0: encoded(noise(seed), "PNG"))
