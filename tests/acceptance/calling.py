"""The command line in this process, for the fixtures that all tests of a file share."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest

from snnlab.cli import main

from ..cli.conftest import Outcome, reported_errors


def call(folder: Path, *words: str) -> Outcome:
    """Run `snnlab` with these words in a folder."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        reported = reported_errors(patch)
        patch.setattr("sys.argv", ["snnlab", *words])
        status = main.main()
    return Outcome(status, out.getvalue(), err.getvalue(), reported[-1] if reported else None)
