"""Films the page of `snnlab stream` in headless Chromium, as a GIF.

    python scripts/film_page.py RUN RECORDING --out docs/assets/stream.gif
    python scripts/film_page.py RUN RECORDING --seconds 0.8 --speed 0.1 --light --width 400 --frames FOLDER

It streams the recording with `--page --speed`, opens the page, takes a picture for every 1/RATE s of the recording, and
joins them. The options of `snnlab stream` go after `--`:

    python scripts/film_page.py speck 3.npy -- --dt 1 --time-unit ms
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from PIL import Image

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_WAIT_S = 120.0
_ENDED = "document.body.dataset.ended"


class Chromium:
    """A headless Chromium with one page, spoken to in its DevTools protocol over two pipes.

    Args:
        folder: An empty folder for its profile.
    """

    def __init__(self, folder: Path) -> None:
        path = next((path for name in _NAMES if (path := shutil.which(name))), None)
        if path is None:
            sys.exit("there is no Chromium on this machine")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        command = [path, *options, f"--user-data-dir={folder}", "about:blank"]
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
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
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


@contextmanager
def streaming(arguments: list[str]) -> Iterator[str]:
    """Run `snnlab stream --page`; yield the page's address."""
    command = [sys.executable, "-m", "snnlab", "stream", *arguments, "--page", "--keep-page"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = ""
    try:
        for line in process.stderr:
            said += line
            if found := re.search(r"http://\S+/", line):
                yield found[0]
                return
        sys.exit(said)
    finally:
        process.terminate()
        process.wait()


def film(settings: argparse.Namespace, folder: Path) -> list[Image.Image]:
    """Return pictures of the page while the recording plays, one for each 1 / rate s of it."""
    words = [settings.run, settings.recording, "--speed", f"{settings.speed:g}", *settings.options]
    pictures: list[Image.Image] = []
    with streaming(words) as address, Chromium(folder) as browser:
        dark = not settings.light
        browser.open(address, settings.width, settings.height or 900, dark=dark, scale=settings.scale)
        browser.wait_for("document.body.dataset.ms > 0")
        if not settings.height:
            height = browser.value("document.documentElement.scrollHeight")
            browser.resize(settings.width, height, dark=dark, scale=settings.scale)
        next_ms = settings.start * 1000
        while next_ms <= (settings.start + settings.seconds) * 1000 and browser.value(_ENDED) == "0":
            if float(browser.value("document.body.dataset.ms")) < next_ms:
                time.sleep(0.005)
                continue
            pictures.append(Image.open(io.BytesIO(browser.picture())).convert("RGB"))
            next_ms += 1000 / settings.rate
        for problem in browser.problems:
            print(problem, file=sys.stderr)
    return pictures


def write_gif(pictures: list[Image.Image], path: Path, rate: float, colors: int) -> None:
    """Write pictures as a GIF with one table of colours; the last one stays for two seconds."""
    width, height = pictures[0].size
    every = pictures[:: max(1, len(pictures) // 8)]
    canvas = Image.new("RGB", (width, height * len(every)))
    for n, picture in enumerate(every):
        canvas.paste(picture, (0, n * height))
    table = canvas.quantize(colors, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    frames = [picture.quantize(palette=table, dither=Image.Dither.NONE) for picture in pictures]
    ms = [round(1000 / rate)] * (len(frames) - 1) + [2000]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=ms, loop=0, optimize=False)


def parser() -> argparse.ArgumentParser:
    about, _, _ = (__doc__ or "").rpartition("\n")
    made = argparse.ArgumentParser("film_page.py", description=about, formatter_class=argparse.RawTextHelpFormatter)
    add = made.add_argument
    add("run", metavar="RUN", help="folder of a run, or zoo:NAME")
    add("recording", metavar="RECORDING", help="a file of events")
    add("--out", type=Path, default=Path("stream.gif"), metavar="FILE", help="the GIF (default stream.gif)")
    add("--frames", type=Path, metavar="FOLDER", help="write the pictures as PNG too")
    add("--speed", type=float, default=0.2, help="how fast the recording plays for the pictures (default 0.2)")
    add("--start", type=float, default=0.1, help="first picture, s of the recording (default 0.1)")
    add("--seconds", type=float, default=4.0, help="length, s of the recording (default 4)")
    add("--rate", type=float, default=10.0, help="pictures for a second of the recording (default 10)")
    add("--width", type=int, default=1200, help="of the window (default 1200)")
    add("--height", type=int, default=0, help="of the window (default: that of the page)")
    add("--scale", type=float, default=0.75, help="pixels of the picture for one of the window (default 0.75)")
    add("--light", action="store_true", help="the light page")
    add("--colors", type=int, default=64, help="of the GIF (default 64)")
    return made


def main() -> None:
    words = sys.argv[1:]
    place = words.index("--") if "--" in words else len(words)
    settings = parser().parse_args(words[:place])
    settings.options = words[place + 1 :]
    with tempfile.TemporaryDirectory() as folder:
        pictures = film(settings, Path(folder))
    if settings.frames is not None:
        settings.frames.mkdir(parents=True, exist_ok=True)
        for n, picture in enumerate(pictures):
            picture.save(settings.frames / f"{n:03d}.png")
    write_gif(pictures, settings.out, settings.rate, settings.colors)
    print(f"{settings.out}: {len(pictures)} pictures, {settings.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
