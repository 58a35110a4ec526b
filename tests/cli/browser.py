"""Pages as Chromium sees them, where there is one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")
# The page's title says how many pictures are there. The end of loading waits for all of them, however slow the machine
# is; for a promise to decode them Chromium does not wait.
COUNT = """
<script>window.addEventListener("load", () => {
  document.title = "decoded " + [...document.images].filter(image => image.naturalWidth > 50).length;
});</script></body>"""


def clicks(column: str) -> str:
    """Return what a reader does: a click on a column of the first table that has it, and one more."""
    return f"""
<script>const head = [...document.querySelectorAll("table.sorts th")].find(h => h.textContent === "{column}");
head.click(); head.click();</script></body>"""


def seen(page: Path, more: str = "</body>") -> tuple[str, str]:
    """Return a page's elements as Chromium has made them, and what it complained of."""
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
