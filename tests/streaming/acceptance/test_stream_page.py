"""The page of a stream in a browser: complete, without errors, on a phone and on a screen."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ...cli.browser import Chromium, in_a_browser

WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
TEXT = "document.body.innerText"
# Number of colours of a canvas.
COLORS = """new Set(new Uint32Array(document.getElementById("{}").getContext("2d")
    .getImageData(0, 0, 1000, 1000).data.buffer)).size"""


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    with Chromium(tmp_path / "profile") as found:
        yield found


@pytest.fixture
def streamed(digits_run: Path, digit: Path) -> tuple[Path, Path]:
    """Return a run and a recording of its test part."""
    return digits_run, digit


@contextmanager
def page_of(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a command that serves a page; yield it and the page's address."""
    command = [sys.executable, "-m", "snnlab", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            address = next(found[0] for line in process.stderr if (found := re.search(r"http://\S+/", line)))
            yield process, address
        finally:
            process.kill()


def assert_fits(browser: Chromium) -> None:
    """Assert that a page needs no horizontal scrolling, is dark where asked, and has no errors."""
    for width in (400, 1400):
        for dark in (True, False):
            browser.resize(width, 900, dark=dark)
            browser.wait_for("new Promise(done => requestAnimationFrame(() => done(true)))")
            assert not browser.value(WIDE), f"{width} pixels"
            corner = np.asarray(Image.open(io.BytesIO(browser.picture())).convert("L"))[1, 1]
            assert (corner < 60) if dark else (corner > 200)
    assert browser.problems == []


@pytest.mark.slow
@in_a_browser
def test_the_page_of_a_stream_shows_it_and_says_how_it_ended(streamed: tuple[Path, Path], browser: Chromium) -> None:
    run, recording = map(str, streamed)
    with page_of("stream", run, recording, "--page", "--speed", "0.2", "--keep-page") as (process, address):
        browser.open(address, 1400, 900)
        browser.wait_for("document.body.dataset.ms > 100")
        assert browser.value("document.getElementById('state').textContent") == "live"
        assert_fits(browser)
        for canvas in ("sensor", "answers", "layers", "times"):
            assert browser.value(COLORS.format(canvas)) > 3, canvas
        browser.wait_for("document.body.dataset.ended == 1")
        assert "source" in browser.value("document.getElementById('state').textContent")
        browser.open(address, 400, 900)
        browser.wait_for("document.body.dataset.ended == 1")
        assert "one.npy" in browser.value(TEXT)
        process.kill()
        process.wait()
        browser.wait_for("fetch('data').then(() => false, () => true)", 20)
        assert "source" in browser.value("document.getElementById('state').textContent")


@pytest.mark.slow
@in_a_browser
def test_the_page_of_a_stream_that_is_killed_says_so(streamed: tuple[Path, Path], browser: Chromium) -> None:
    run, recording = map(str, streamed)
    with page_of("stream", run, recording, "--page", "--speed", "0.02") as (process, address):
        browser.open(address, 1400, 900)
        browser.wait_for("document.body.dataset.ms > 1")
        process.kill()
        browser.wait_for("document.body.dataset.ended == 4", 20)
        assert "kill" in browser.value("document.getElementById('state').textContent")
