"""Pages rendered by Chromium, if it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")
# The page's title is the number of images. The load event waits for all of them, on any machine; Chromium does not wait
# for a promise that decodes them.
COUNT = """
<script>window.addEventListener("load", () => {
  document.title = "decoded " + [...document.images].filter(image => image.naturalWidth > 50).length;
});</script></body>"""


def clicks(column: str) -> str:
    """Return a script that clicks twice on a column of the first table that has it."""
    return f"""
<script>const head = [...document.querySelectorAll("table.sorts th")].find(h => h.textContent === "{column}");
head.click(); head.click();</script></body>"""


def seen(page: Path, more: str = "</body>") -> tuple[str, str]:
    """Return a page's elements after rendering by Chromium, and its error output."""
    shown = page.with_name("shown.html")
    shown.write_text(page.read_text().replace("</body>", more))
    assert BROWSER is not None
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--dump-dom",
        "--virtual-time-budget=5000",
    ]
    done = subprocess.run([BROWSER, *options, shown.as_uri()], capture_output=True, text=True, timeout=120)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
