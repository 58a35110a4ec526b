"""Signals that would end a command raise within it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from snnlab.errors import Interrupted
from snnlab.process import ENDING_SIGNALS, raise_on_signals
from snnlab.training.snapshots import stop_signals

from .refusals import assert_text_has


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ENDING_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING_SIGNALS)
def test_a_signal_raises_once_and_others_change_nothing_while_the_process_ends(number: signal.Signals) -> None:
    def ended() -> None:
        with raise_on_signals():
            try:
                os.kill(os.getpid(), number)
            finally:
                os.kill(os.getpid(), number)  # a second one, while things are cleaned up

    with pytest.raises(Interrupted) as caught:
        ended()
    assert caught.value.status == 128 + number
    assert_text_has(str(caught.value), number.name)
    os.kill(os.getpid(), number)


def test_without_a_signal_the_handlers_are_restored() -> None:
    with raise_on_signals():
        assert signal.SIG_DFL not in {signal.getsignal(each) for each in ENDING_SIGNALS}
    assert {signal.getsignal(each) for each in ENDING_SIGNALS} == {signal.SIG_DFL}


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with raise_on_signals():
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.SIGHUP not in stop_signals()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert signal.SIGHUP in stop_signals()


def test_another_handler_stays() -> None:
    received: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: received.append(number))
    with raise_on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM]


def test_in_another_thread_nothing_is_changed() -> None:
    found: list[object] = []

    def look() -> None:
        with raise_on_signals():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]
