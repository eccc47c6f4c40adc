from __future__ import annotations

import os
import sys
import threading

import pytest

from ilk.serving.niceness import NICENESS, be_nice, nicely

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads have no priorities")


def priority():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_nice_work_and_the_threads_it_starts_go_after_the_caller():
    def work():
        found = []
        thread = threading.Thread(target=lambda: found.append(priority()))
        thread.start()
        thread.join()
        return [priority(), *found]

    usual = priority()
    assert nicely(work) == [min(usual + NICENESS, 19)] * 2
    assert priority() == usual


def test_to_be_nice_twice_is_to_be_nice_once():
    def work():
        be_nice()
        return priority()

    assert nicely(work) == min(priority() + NICENESS, 19)


def test_what_work_raises_is_raised():
    with pytest.raises(ZeroDivisionError):
        nicely(lambda: 1 / 0)
