from __future__ import annotations

import logging
import os
import sys
import threading

import pytest

from snnlab.console import console_logging, quiet_lightning


@pytest.mark.parametrize(("terminal", "columns", "said"), [(True, 10, "short"), (True, 80, "a-long-line")])
def test_a_message_wider_than_the_terminal_is_printed_shorter(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool, columns: int, said: str
) -> None:
    console_logging()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_, **__: os.terminal_size((columns, 24)))
    logging.getLogger("snnlab.test").info("a-long-line", extra={"short": "short"})
    assert capsys.readouterr().err == f"{said}\n"


def test_a_file_gets_the_whole_message(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    console_logging()
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_, **__: os.terminal_size((10, 24)))
    logging.getLogger("snnlab.test").info("a-long-line", extra={"short": "short"})
    assert capsys.readouterr().err == "a-long-line\n"


@pytest.mark.parametrize("name", ["utilities.rank_zero", "accelerators.cuda", "trainer.connectors.signal_connector"])
def test_lightning_prints_no_info_messages(name: str) -> None:
    with quiet_lightning():
        assert not logging.getLogger(f"lightning.pytorch.{name}").isEnabledFor(logging.INFO)


class Writer(threading.Thread):
    """A writer thread as TensorBoard's: it stores its error and raises it at the next write."""

    exception: Exception | None = None

    def run(self) -> None:
        self.exception = OSError(28, "No space left on device")
        raise self.exception


def test_an_error_that_a_thread_stores_for_its_owner_is_not_printed_twice() -> None:
    said: list[str] = []
    before = threading.excepthook
    threading.excepthook = lambda arguments: said.append(arguments.exc_type.__name__)
    try:
        with quiet_lightning():
            for thread in (Writer(), threading.Thread(target=lambda: 1 / 0)):
                thread.start()
                thread.join()
    finally:
        threading.excepthook = before
    assert said == ["ZeroDivisionError"]
