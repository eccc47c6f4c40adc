from __future__ import annotations

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
    with interrupt.handle_signals():
        assert not interrupt.requested()
        signal.raise_signal(number)
        assert interrupt.requested()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


def test_signals_are_as_before_when_nobody_listens_any_more(interrupt):
    before = handlers()
    with interrupt.handle_signals():
        assert all(one != other for one, other in zip(handlers(), before, strict=True))
    assert handlers() == before


def test_signals_are_as_before_also_after_an_error(interrupt):
    before = handlers()
    with pytest.raises(KeyError), interrupt.handle_signals():
        raise KeyError
    assert handlers() == before


def test_a_thread_that_is_not_the_main_one_trains_without_listening(interrupt):
    before, seen = handlers(), []

    def train():
        with interrupt.handle_signals():
            seen.append(handlers())

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert seen == [before]


def test_stopping_says_how_to_resume(interrupt, tmp_path):
    with pytest.raises(Interrupted) as caught:
        interrupt.stop()
    assert "everything is saved" in str(caught.value)
    assert str(caught.value).endswith(f"ilk train --resume {tmp_path}/runs/train")
    assert caught.value.exit_code == 130


def test_stopping_does_not_claim_what_is_not_so(interrupt):
    with pytest.raises(Interrupted, match="the last steps could not be saved") as caught:
        interrupt.stop(saved=False)
    assert "everything" not in str(caught.value)


def test_a_folder_with_a_blank_can_be_pasted_into_a_shell(tmp_path):
    with pytest.raises(Interrupted, match=r"--resume '.*/my run'$"):
        Interrupt(tmp_path / "my run").stop()
