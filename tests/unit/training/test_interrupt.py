from __future__ import annotations

import os
import signal
import threading

import pytest

from ilk.errors import Interrupted
from ilk.training.interrupt import Interrupt

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def interrupt(tmp_path):
    return Interrupt(tmp_path / "runs" / "train")


def handlers():
    return [signal.getsignal(number) for number in SIGNALS]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_the_second_ends_at_once(interrupt, number):
    with interrupt.listening():
        assert not interrupt.wanted
        os.kill(os.getpid(), number)
        assert interrupt.wanted
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def test_signals_are_as_before_when_nobody_listens_any_more(interrupt):
    before = handlers()
    with interrupt.listening():
        assert all(one != other for one, other in zip(handlers(), before, strict=True))
    assert handlers() == before


def test_signals_are_as_before_also_after_an_error(interrupt):
    before = handlers()
    with pytest.raises(KeyError), interrupt.listening():
        raise KeyError
    assert handlers() == before


def test_a_thread_that_is_not_the_main_one_trains_without_listening(interrupt):
    before, seen = handlers(), []

    def train():
        with interrupt.listening():
            seen.append(handlers())

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert seen == [before]


def test_leaving_says_how_to_go_on(interrupt, tmp_path):
    with pytest.raises(Interrupted) as caught:
        interrupt.leave()
    assert "everything is saved" in str(caught.value)
    assert str(caught.value).endswith(f"ilk train --resume {tmp_path}/runs/train")
    assert caught.value.exit_code == 130


def test_leaving_does_not_claim_what_is_not_so(interrupt):
    with pytest.raises(Interrupted, match="the last steps could not be saved") as caught:
        interrupt.leave(saved=False)
    assert "everything" not in str(caught.value)


def test_a_folder_with_a_blank_can_be_pasted_into_a_shell(tmp_path):
    with pytest.raises(Interrupted, match=r"--resume '.*/my run'$"):
        Interrupt(tmp_path / "my run").leave()
