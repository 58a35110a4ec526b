"""Console output of snnlab: plain lines on stderr, without messages that a user cannot act on."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from snnlab.bundles import with_bundle_names
from snnlab.errors import SnnlabError
from snnlab.printable import printable
from snnlab.process import until_pipe_closes as until_pipe_closes

if TYPE_CHECKING:
    from rich.console import Console

# Warnings of Lightning about intended behaviour, or that no user can act on.
_IGNORED_WARNINGS = (
    r"(?s).*on epoch level in distributed setting",  # logged values are reduced over all ranks already
    r"(?s).*does not have many workers",  # packed recordings are fast to read: no worker is needed
    r"(?s).*across ranks is zero",  # data.val_fraction=0 is intended
    r"(?s).*is smaller than the logging interval",  # the epoch's means are logged anyway
    r"(?s)GPU available but not used",  # trainer=cpu is intended
    r"(?s).*`isinstance\(treespec, LeafSpec\)` is deprecated",  # between Lightning 2.6 and torch 2.13
)


# Loggers whose messages at INFO are of no use to a user.
_NOISY_LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.distributed",
    "lightning.pytorch.accelerators.cuda",
    "lightning.pytorch.trainer.connectors.signal_connector",
)


class PrintableFormatter(logging.Formatter):
    """Escapes the characters of a message that a terminal would act on, also of one that shows a file later."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a message."""
        return printable(super().format(record), "\n\t")


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stderr`: a progress bar or a notebook may have replaced it.

    A message that is wider than the terminal is printed in its `short` form, where its record has one.
    """

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        wide = sys.stderr.isatty() and len(text) > shutil.get_terminal_size().columns
        return printable(getattr(record, "short", text), "\n\t") if wide else text


def console_logging() -> None:
    """Send snnlab's own messages to stderr."""
    logger = logging.getLogger("snnlab")
    if not logger.handlers:
        handler = _Stderr()
        handler.setFormatter(PrintableFormatter("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def log_unless_set_up() -> None:
    """Send snnlab's own messages to stderr in a program or a notebook that has not set up logging for them."""
    logger = logging.getLogger("snnlab")
    if not logger.hasHandlers() and logger.level == logging.NOTSET:
        console_logging()


def silence() -> None:
    """Log and warn of nothing but errors, for the other ranks of a training: rank 0 does."""
    for name in ("snnlab", "lightning.pytorch", "lightning.fabric", "py.warnings"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hide the messages that Lightning prints at every start."""
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings(), _hide_stored_thread_errors():
        for pattern in _IGNORED_WARNINGS:
            warnings.filterwarnings("ignore", message=pattern)
        yield


@contextmanager
def _hide_stored_thread_errors() -> Iterator[None]:
    """Print no error that a thread stores for its owner, as TensorBoard's writer does: the owner raises it."""
    before = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs, /) -> None:
        if getattr(arguments.thread, "exception", None) is not arguments.exc_value:
            before(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def say_error(error: SnnlabError) -> None:
    """Print a user's error to stderr; with SNNLAB_DEBUG=1, print the traceback too."""
    if os.environ.get("SNNLAB_DEBUG") == "1":
        traceback.print_exception(error)
    print(printable(f"snnlab: {with_bundle_names(str(error))}", "\n\t"), file=sys.stderr, flush=True)


def say(*lines: object) -> None:
    """Print lines to stdout; characters that a terminal would act on are escaped."""
    for line in lines:
        print(printable(str(line), "\n\t"), flush=True)


def draws_bars() -> bool:
    """Return whether stderr is a terminal that can show a progress bar."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def table_console(width: int | None = None) -> Console:
    """Return the console for tables: stdout, as wide as the terminal, or 120 columns for a file or a pipe.

    Args:
        width: A fixed width, columns.
    """
    from rich.console import Console

    class PrintableConsole(Console):
        """Escapes all control characters of a text: rich removes some of them only."""

        def render_str(self, text: str, **named: Any) -> Any:
            return super().render_str(printable(text, "\n\t"), **named)

    # Without markup: rich would read [lif,cuba_lif] as a style, and drop it.
    return PrintableConsole(width=width or (None if sys.stdout.isatty() else 120), highlight=False, markup=False)
