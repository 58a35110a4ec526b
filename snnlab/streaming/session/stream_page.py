"""The page of a stream for a browser on this machine: events, spikes, answers and times, which a thread serves.

The page asks for what is new when it has drawn the last, so that a slow or vanished browser keeps nobody waiting.
"""

from __future__ import annotations

import errno
import json
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from itertools import islice
from math import ceil
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import numpy as np

from snnlab.errors import ConfigError
from snnlab.streaming.buffers import CLOCK
from snnlab.streaming.event_decoders import Columns
from snnlab.streaming.event_stream import EventStream

# Reasons for the end; 0 while it runs.
RUNNING, SOURCE_CLOSED, ANSWERED, STOPPED, FAILED = range(5)
_HOST = "127.0.0.1"
# Names of this machine in a browser's request. Another one is that of a foreign web page whose owner lets its name
# point to this address.
_OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")
_TEMPLATES = Path(__file__).parents[1] / "templates"
_FILES = {
    "/": ("text/html; charset=utf-8", "stream.html"),
    "/stream.css": ("text/css; charset=utf-8", "stream.css"),
    "/stream.js": ("text/javascript; charset=utf-8", "stream.js"),
}
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
_SHORTEST_WINDOW_MS, _LONGEST_WINDOW_MS, _SEEN_MS = 2000.0, 10_000.0, 1000
_MOST_COLUMNS, _MOST_PIXELS, _MOST_TIMES, _ANSWERS_PER_WINDOW = 1000, 320, 4096, 250
# How long open pages are told of the end, s: one in the background asks once a second.
_TELLS_S, _NEVER = 1.5, -(1 << 60)


class PageServer(ThreadingTCPServer):
    """Answers on a port of this machine only, 0 for any free one, each connection in a thread."""

    daemon_threads = allow_reuse_address = True
    page: StreamPage

    def __init__(self, port: int) -> None:
        try:
            super().__init__((_HOST, port), _Handler)
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            problem = "is in use" if in_use else f"cannot be opened ({error.strerror})"
            raise ConfigError("--page", f"port {port} {problem}", "choose another one, or none for any") from None

    @property
    def address(self) -> str:
        """The address of the page, for a browser."""
        return f"http://{_HOST}:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser that has gone is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version, server_version, sys_version = "HTTP/1.1", "snnlab", ""
    timeout, wbufsize, disable_nagle_algorithm = 30, 1 << 16, True
    server: PageServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if not self._is_own():
            self._answer(403, "text/plain", b"only pages of this machine are answered\n")
        elif path == "/data":
            after = parse_qs(query).get("after", [""])[0]
            self._answer(200, "application/octet-stream", self.server.page.data(after))
        elif path in _FILES:
            kind, name = _FILES[path]
            self._answer(200, kind, (_TEMPLATES / name).read_bytes())
        else:
            self._answer(404, "text/plain", b"there is no such page\n")

    def _is_own(self) -> bool:
        """Whether a request is not that of a foreign web page; another page may link to this one, but not read it."""
        names = self.headers.get_all("Host", [])
        named = names[0] if len(names) == 1 else ""
        name, _, port = named.rpartition(":")
        is_same = self.path == "/" or self.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
        return is_same and (name if port.isdigit() else named).lower() in _OWN_NAMES

    def _answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


class _Recent:
    """The last items of a series, and the number of all."""

    def __init__(self, most: int) -> None:
        self._items: deque[Sequence[float] | np.ndarray] = deque(maxlen=most)
        self.count = 0

    def add(self, item: Sequence[float] | np.ndarray) -> None:
        self._items.append(item)
        self.count += 1

    def since(self, count: int, width: int) -> np.ndarray:
        """Return the items that were added after a number of them, as far as they are left, `[N, width]`."""
        left = len(self._items)
        new = islice(self._items, left - min(max(self.count - count, 0), left), None)
        return np.array(list(new)).reshape(-1, width)


class StreamPage:
    """What a page shows of a stream; one thread adds to it, others read it.

    Args:
        stream: The stream.
        server: The server that gets the page.
        duration_ms: Length of a recording of the run, which decides that of what the page shows.
        shown: What the page says: run, source, outputs, whether these are values (`has_values`), speed.

    Attributes:
        answer_steps: Steps from one answer to the next.
        opened: Set when a browser has asked for data.
        unreadable: Number of lines that were no events.
        ended: Why the stream has ended.
    """

    def __init__(self, stream: EventStream, server: PageServer, duration_ms: float, shown: Mapping[str, Any]) -> None:
        self._stream, self._server, self._dt = stream, server, float(stream.dt or 0)
        height, width = stream.sensor.cells.shape
        self._pixel = ceil(max(height, width) / _MOST_PIXELS)
        picture = ceil(height / self._pixel), ceil(width / self._pixel)
        # Of each pixel, twice the time of its last event, us, plus its polarity.
        self._picture = np.full(picture, _NEVER).ravel()
        channels = stream.count_channels()
        self._spikes = [counts for _, counts in channels]
        self._spikes_before = np.concatenate([np.zeros(0, np.int64), *self._spikes])
        window_ms = min(max(_SHORTEST_WINDOW_MS, 2 * duration_ms), _LONGEST_WINDOW_MS)
        steps = ceil(window_ms / self._dt)
        self._column_steps = ceil(steps / _MOST_COLUMNS)
        self.answer_steps = max(1, round(steps / _ANSWERS_PER_WINDOW))
        columns = ceil(steps / self._column_steps) + 1
        self._columns, self._times, self._answers = _Recent(columns), _Recent(_MOST_TIMES), _Recent(_MOST_COLUMNS)
        self._layout = {
            **{"dt": self._dt, "window_ms": window_ms, "columns": columns, "steps_per_column": self._column_steps},
            **{"sensor": (height, width, stream.sensor.polarities), "picture": picture, **shown},
            "layers": [(layer.label, layer.shape) for layer, _ in channels],
        }
        self._name, self.unreadable, self.ended = uuid4().hex, 0, RUNNING
        self._lock, self.opened = threading.Lock(), threading.Event()
        server.page = self
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def add_events(self, events: Columns) -> None:
        """Show events."""
        t, x, y, p = (events[name] for name in "txyp")
        inside = self._stream.inside(events)
        _, width = self._layout["picture"]
        pixels = (y // self._pixel * width + x // self._pixel)[inside]
        np.maximum.at(self._picture, pixels, (2 * t + (p > 0))[inside])

    def timed(self, parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield single steps of a stream, and show how long they took and what spiked in them."""
        begun = time.perf_counter()
        for part in parts:
            step, us = self._stream.num_steps, (time.perf_counter() - begun) * 1e6
            with self._lock:
                self._times.add((step * self._dt, us))
                if step % self._column_steps == 0 and self._spikes:
                    spikes = np.concatenate(self._spikes)
                    self._columns.add(np.minimum(spikes - self._spikes_before, 255).astype(np.uint8))
                    self._spikes_before = spikes
            yield part
            begun = time.perf_counter()

    def add_answer(self, step: int, outputs: np.ndarray) -> None:
        """Show the outputs after a step."""
        with self._lock:
            self._answers.add(np.array([step * self._dt, *outputs]))

    def close(self) -> None:
        """End the server, after it has told the pages that are open of the end."""
        if self.opened.is_set():
            time.sleep(_TELLS_S)
        self._server.shutdown()
        self._server.server_close()

    def data(self, after: str) -> bytes:
        """Return what a page needs that has read the stream up to a place; all for another or an unknown one."""
        self.opened.set()
        with self._lock:
            return packed(*self._since(after))

    def _since(self, after: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return values and arrays; times are in ms before `now_ms`, so that 32 bits are enough."""
        name, *place = after.split(".")
        begins = name != self._name or len(place) != 4 or not all(word.lstrip("-").isdecimal() for word in place)
        column, answer, shown, picture_us = (0, 0, 0, _NEVER) if begins else map(int, place)
        numbers = dict(zip(CLOCK.names or (), self._stream.clock, strict=True))
        numbers |= {"spikes": self._stream.num_spikes, "unreadable": self.unreadable}
        now_ms = max(numbers["latest"] / 1e3, numbers["step"] * self._dt)
        columns = self._columns.since(column, max(1, self._spikes_before.size))
        answers = self._answers.since(answer, 1 + len(self._layout["outputs"]))
        times = self._times.since(shown, 2)
        changed = np.flatnonzero(self._picture >= 2 * max(picture_us, round((now_ms - _SEEN_MS) * 1e3)))
        pixels = self._picture[changed]
        newest_us = int(pixels.max() >> 1) if pixels.size else picture_us
        arrays = {"pixels": changed.astype(np.uint32), "polarities": (pixels & 1).astype(np.uint8)}
        floats = {"pixels_ms": (pixels >> 1) / 1e3 - now_ms, "answers_ms": answers[:, 0] - now_ms}
        floats |= {"answers": answers[:, 1:], "times_ms": times[:, 0] - now_ms, "times_us": times[:, 1]}
        arrays |= {name: array.astype(np.float32) for name, array in floats.items()}
        parts = np.split(columns, np.cumsum([counts.size for counts in self._spikes], dtype=int)[:-1], 1)
        arrays |= {f"raster{k}": part.astype(np.uint8) for k, part in enumerate(parts)}
        following = self._name, self._columns.count, self._answers.count, self._times.count, newest_us
        values = {"numbers": numbers, "ended": self.ended, "now_ms": now_ms, "next": ".".join(map(str, following))}
        values |= {"layout": self._layout if begins else None, "first_column": self._columns.count - len(columns)}
        return values, arrays


def packed(values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return values and arrays as bytes: the length of the JSON text, the text, and each array at a multiple of 8."""
    parts, place, table = [], 0, {}
    for name, array in arrays.items():
        table[name] = [array.dtype.str.strip("<|"), place, array.size]
        content = array.tobytes()
        parts.append(content + bytes(-len(content) % 8))
        place += len(parts[-1])
    text = json.dumps({**values, "arrays": table}, allow_nan=False).encode()
    text += b" " * (-(len(text) + 4) % 8)
    return b"".join([len(text).to_bytes(4, "little"), text, *parts])
