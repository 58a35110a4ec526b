"""What snnlab says on the console: plain lines on stderr, and nothing that a user cannot act on."""

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

from snnlab.errors import SnnlabError
from snnlab.printable import printable
from snnlab.process import until_nobody_reads as until_nobody_reads

if TYPE_CHECKING:
    from rich.console import Console

# What Lightning warns of although it is meant so, or nobody can act on it.
_REMARKS = (
    r"(?s).*on epoch level in distributed setting",  # what is logged is of all processes already
    r"(?s).*does not have many workers",  # packed recordings are fast to read: no worker is needed
    r"(?s).*across ranks is zero",  # data.val_fraction=0, as asked
    r"(?s).*is smaller than the logging interval",  # the epoch's means are logged all the same
    r"(?s)GPU available but not used",  # trainer=cpu, as asked
    r"(?s).*`isinstance\(treespec, LeafSpec\)` is deprecated",  # between Lightning 2.6 and torch 2.13
)


# Who says at every start, or in passing, what is of no use to a user.
_CHATTY = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.pytorch.accelerators.cuda",
    "lightning.pytorch.trainer.connectors.signal_connector",
)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at that moment: a bar or a notebook may have put its own in place.

    A message that is wider than the terminal is said in its `short` form, where its record has one.
    """

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        text = printable(super().format(record), "\n\t")
        wide = sys.stderr.isatty() and len(text) > shutil.get_terminal_size().columns
        return printable(getattr(record, "short", text), "\n\t") if wide else text


def console_logging() -> None:
    """Let snnlab's own messages go to stderr."""
    logger = logging.getLogger("snnlab")
    if not logger.handlers:
        handler = _Stderr()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def log_unless_set_up() -> None:
    """Let snnlab's own messages go to stderr in a program or a notebook that has not set up any logging of them."""
    logger = logging.getLogger("snnlab")
    if not logger.hasHandlers() and logger.level == logging.NOTSET:
        console_logging()


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep away what Lightning says at every start."""
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings(), _threads_that_report():
        for remark in _REMARKS:
            warnings.filterwarnings("ignore", message=remark)
        yield


@contextmanager
def _threads_that_report() -> Iterator[None]:
    """Say nothing of an error that a thread keeps for its owner, as TensorBoard's writer does: it is raised there."""
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
    """Print a user's mistake; with SNNLAB_DEBUG=1, the traceback too."""
    if os.environ.get("SNNLAB_DEBUG") == "1":
        traceback.print_exception(error)
    print(printable(f"snnlab: {error}", "\n\t"), file=sys.stderr, flush=True)


def say(*lines: object) -> None:
    """Print lines to stdout, with what a terminal would act on as it stands in them."""
    for line in lines:
        print(printable(str(line), "\n\t"), flush=True)


def draws_bars() -> bool:
    """Return whether stderr is a terminal that a bar can be drawn on."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def table_console(width: int | None = None) -> Console:
    """Return where tables go: stdout, as wide as the terminal, or 120 columns where that is a file or a pipe.

    Args:
        width: Columns, whatever stdout is.
    """
    from rich.console import Console

    class Shown(Console):
        """Shows every character of a text: rich takes away some that a terminal acts on, and not all."""

        def render_str(self, text: str, **named: Any) -> Any:
            return super().render_str(printable(text, "\n\t"), **named)

    # Without markup: rich would take [lif,cuba_lif] for a style, and leave it out.
    return Shown(width=width or (None if sys.stdout.isatty() else 120), highlight=False, markup=False)
