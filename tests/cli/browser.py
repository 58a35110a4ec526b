"""Pages rendered by Chromium, if it is installed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
_WAIT_S = 120.0
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


class Chromium:
    """A headless Chromium with one page, spoken to in its DevTools protocol over two pipes.

    Args:
        folder: An empty folder for its profile.
    """

    def __init__(self, folder: Path) -> None:
        assert BROWSER is not None
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        command = [BROWSER, *options, f"--user-data-dir={folder}", "about:blank"]
        (from_us, to_it), (from_it, to_us) = os.pipe(), os.pipe()
        # Chromium reads from 3 and writes to 4.
        move = f'exec "$@" 3<&{from_us} 4>&{to_us}'
        self._process = subprocess.Popen(
            ["bash", "-c", move, "bash", *command], pass_fds=(from_us, to_us), stderr=subprocess.DEVNULL
        )
        os.close(from_us)
        os.close(to_us)
        self._to, self._from = os.fdopen(to_it, "wb", buffering=0), from_it
        self._number, self._session, self._ahead = 0, "", bytearray()
        self.problems: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a method and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": arguments}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        while True:
            found = self._read()
            if found.get("id") == self._number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']['message']}")
                return found["result"]
            self._note(found)

    def _read(self) -> dict[str, Any]:
        while (end := self._ahead.find(b"\0")) < 0:
            piece = os.read(self._from, 1 << 16)
            if not piece:
                raise RuntimeError("Chromium has ended")
            self._ahead += piece
        text, self._ahead = self._ahead[:end], self._ahead[end + 1 :]
        return json.loads(text)

    def _note(self, event: dict[str, Any]) -> None:
        """Keep the errors of the page."""
        if event.get("method") == "Runtime.exceptionThrown":
            details = event["params"]["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
            self.problems.append(event["params"]["entry"]["text"])

    def open(self, address: str, width: int, height: int, *, dark: bool = True, scale: float = 1.0) -> None:
        """Open a page in a window of a size."""
        self.resize(width, height, dark=dark, scale=scale)
        self.call("Page.navigate", url=address)

    def resize(self, width: int, height: int, *, dark: bool = True, scale: float = 1.0) -> None:
        """Set the size of the window, and whether the page is dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def value(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return found["result"].get("value")

    def wait_for(self, expression: str, seconds: float = _WAIT_S) -> None:
        """Wait until an expression in the page is true."""
        end = time.monotonic() + seconds
        while not self.value(expression):
            if time.monotonic() > end:
                raise TimeoutError(f"{expression}; the page says: {self.value('document.body.innerText')}")
            time.sleep(0.05)

    def picture(self) -> bytes:
        """Return the page as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """End Chromium."""
        with suppress(OSError, RuntimeError):
            self._session = ""
            self.call("Browser.close")
        self._to.close()
        os.close(self._from)
        self._process.wait()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End Chromium."""
        self.close()
