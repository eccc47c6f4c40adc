"""Warnings: those of libraries are logged, those of the caller's code are shown as before."""

from __future__ import annotations

import functools
import threading
import warnings

import numpy as np
import pytest

from ilk.library_warnings import OURS, STANDARD, quiet_libraries
from ilk.training.head import solve

LIBRARIES = ["/venv/lib/python3.11/site-packages/sklearn/base.py", f"{OURS}/training/head.py",
             f"{STANDARD}/multiprocessing/pool.py", "/usr/lib/python3/dist-packages/PIL/Image.py",
             "<frozen importlib._bootstrap>"]  # fmt: skip
USERS = ["/home/me/train.py", "<stdin>", "/tmp/ipykernel_7/123.py"]


@pytest.fixture
def shown(monkeypatch):
    """Return the list of the warnings that are shown."""
    found = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: found.append(str(message)))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", lambda message, *_: found.append(str(message)))
        yield found


def warn(file, text="hm"):
    warnings.warn_explicit(text, UserWarning, file, 7)


@pytest.mark.parametrize("file", LIBRARIES)
def test_warnings_of_libraries_are_logged_for_who_looks_for_them(shown, caplog, file):
    caplog.set_level("DEBUG", "ilk")
    with quiet_libraries():
        warn(file)
    assert shown == []
    assert caplog.messages == [f"UserWarning: hm ({file}:7)"]
    warn(file, "outside")
    assert shown == ["outside"]


@pytest.mark.parametrize("file", USERS)
def test_warnings_of_the_callers_code_are_shown(shown, file):
    with quiet_libraries(), quiet_libraries():
        warn(file)
    assert shown == ["hm"]


def test_what_filters_turn_into_errors_is_raised(shown):
    with quiet_libraries():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="hm"):
            warn(LIBRARIES[0])


def test_warnings_are_shown_again_once_all_threads_are_done(shown):
    inside, over = threading.Event(), threading.Event()

    @quiet_libraries()
    def work():
        inside.set()
        over.wait(5)

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait(5)
    with quiet_libraries():
        warn(LIBRARIES[0])
    warn(LIBRARIES[0])
    over.set()
    thread.join()
    assert shown == []
    warn(LIBRARIES[0])
    assert shown == ["hm"]


def test_a_name_that_a_caller_gave_to_showing_stays(shown):
    later = []
    with quiet_libraries():
        warnings.showwarning = lambda message, *_: later.append(str(message))
    warn(USERS[0])
    assert (later, shown) == (["hm"], [])


def test_contexts_may_be_left_out_of_order(shown):
    for _ in range(3):
        quiet, inner = quiet_libraries(), warnings.catch_warnings()
        quiet.__enter__()
        inner.__enter__()
        quiet.__exit__(None, None, None)
        inner.__exit__(None, None, None)
    warn(LIBRARIES[0], "outside")
    with quiet_libraries():
        warn(LIBRARIES[0], "inside")
        warn(USERS[0], "the caller's")
    assert shown == ["outside", "the caller's"]


def test_who_wraps_what_shows_warnings_may_keep_it(shown):
    with quiet_libraries():
        before = warnings.showwarning
        warnings.showwarning = functools.partial(before)
    with quiet_libraries():
        warn(LIBRARIES[0], "inside")
        warn(USERS[0])
    assert shown == ["hm"]


def test_many_classes_of_two_pictures_are_no_reason_to_warn():
    targets = np.repeat(np.arange(120), 2)
    features = np.random.default_rng(0).normal(size=(240, 8)).astype(np.float32)
    assert solve(features, targets).weight.shape == (120, 8)  # warnings are errors in tests
