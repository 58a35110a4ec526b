"""What snnlab says on the console: plain lines on stderr, and nothing that a user cannot act on."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings

from snnlab.errors import SnnlabError

# Lightning's remark on the number of workers: events are packed, and the loader needs none.
_IDLE_REMARKS = (r"(?s).*does not have many workers", r"(?s).*`isinstance\(treespec, LeafSpec\)` is deprecated")


def console_logging() -> None:
    """Let snnlab's own messages go to stderr, and keep Lightning's tips and device lists away."""
    logger = logging.getLogger("snnlab")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    quiet_lightning()


def quiet_lightning() -> None:
    """Keep away what Lightning prints at every start."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(f"{name}.utilities.rank_zero").setLevel(logging.WARNING)
    for remark in _IDLE_REMARKS:
        warnings.filterwarnings("ignore", message=remark)


def say_error(error: SnnlabError) -> None:
    """Print a user's mistake; with SNNLAB_DEBUG=1, the traceback too."""
    if os.environ.get("SNNLAB_DEBUG") == "1":
        traceback.print_exception(error)
    print(f"snnlab: {error}", file=sys.stderr, flush=True)
