"""A small HTTP server for one page and its data, on the loopback address.

The page asks for new data when it has drawn the last, so that a slow or vanished browser keeps nobody waiting.
"""

from __future__ import annotations

import errno
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from snnlab.errors import ConfigError

HOST = "127.0.0.1"
# Names of this machine in a browser's request. Another one is that of a foreign web page whose owner lets its name
# point to this address.
_OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")
_LAST_PORT = 65535
# Connections at a time, and how long one may take for a request and its answer, s, in whatever pieces it comes.
_MOST_CONNECTIONS, _REQUEST_S = 32, 30.0
_FOLDER = Path(__file__).parent
_SHARED = ("page.css", "page.js")
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", "": "application/octet-stream"}
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
# Returns the data that follow a place, "" for all.
Data = Callable[[str], bytes]


def open_port(port: int, option: str) -> socket.socket:
    """Return a socket that listens on a port of this machine only; 0 is any free one.

    Args:
        port: The port.
        option: The option that named it, for errors.
    """
    if port > _LAST_PORT:
        raise ConfigError(option, f"there is no port {port}", f"choose one from 1024 to {_LAST_PORT}")
    try:
        return socket.create_server((HOST, port), backlog=_MOST_CONNECTIONS)
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        hint = "choose another port, or none for any free one" if in_use else f"choose one from 1024 to {_LAST_PORT}"
        problem = "is in use" if in_use else f"cannot be opened ({error.strerror})"
        raise ConfigError(option, f"port {port} {problem}", hint) from None


def page_address(listener: socket.socket) -> str:
    """Return the address of the page, for a browser."""
    return f"http://{HOST}:{listener.getsockname()[1]}/"


def wait_for_interrupt() -> None:
    """Return at Ctrl-C."""
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


def packed(values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return values and arrays as bytes: the length of the JSON text, the text, and each array at a multiple of 8."""
    parts, place = [], 0
    table = {}
    for name, array in arrays.items():
        table[name] = [array.dtype.str.strip("<|"), place, array.size]
        content = array.tobytes()
        content += bytes(-len(content) % 8)
        parts.append(content)
        place += len(content)
    text = json.dumps({**values, "arrays": table}, allow_nan=False).encode()
    text += b" " * (-(len(text) + 4) % 8)
    return b"".join([len(text).to_bytes(4, "little"), text, *parts])


class PageServer(ThreadingHTTPServer):
    """Serves a page, its style and script, and its data, to any number of browsers up to a limit.

    A new connection is always taken: one without a request makes room for it.

    Args:
        listener: The socket of `open_port`.
        page: Name of the page's HTML file and script.
        data: Returns the data that follow a place; threads call it at the same time.
    """

    daemon_threads = True

    def __init__(self, listener: socket.socket, page: str, data: Data) -> None:
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        files = {"/": f"{page}.html", **{f"/{name}": name for name in (*_SHARED, f"{page}.js")}}
        self.files = {path: (_TYPES[Path(name).suffix], (_FOLDER / name).read_bytes()) for path, name in files.items()}
        self.data = data
        # Whether each connection has got an answer, and when it was opened, or its last answer was complete.
        self._waits: dict[socket.socket, tuple[bool, float]] = {}
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; if there are too many connections, close the one that waits longest for a request."""
        with self._lock:
            if len(self._waits) >= _MOST_CONNECTIONS:
                self._drop(min(self._waits, key=self._waits.__getitem__))
            self._waits[request] = False, time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._waits.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close the connections whose request or answer takes too long; the server calls this again and again."""
        oldest = time.monotonic() - _REQUEST_S
        with self._lock:
            for connection in [one for one, (_, since) in self._waits.items() if since < oldest]:
                self._drop(connection)

    def answered(self, connection: socket.socket) -> None:
        """Let the time of a connection begin anew after an answer."""
        with self._lock:
            if connection in self._waits:
                self._waits[connection] = True, time.monotonic()

    def _drop(self, connection: socket.socket) -> None:
        """Let the thread of a connection end."""
        del self._waits[connection]
        with suppress(OSError):  # it has gone already
            connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser that has gone is no error."""

    def close_listener(self) -> None:
        """Accept no new connections; those that exist go on."""
        self.shutdown()
        self.socket.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "snnlab", ""
    wbufsize, disable_nagle_algorithm = 1 << 16, True
    server: PageServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def handle_one_request(self) -> None:
        with suppress(ConnectionError):
            super().handle_one_request()
            self.server.answered(self.connection)
            return
        self.close_connection = True

    def do_GET(self) -> None:
        if not self._is_own():
            return
        url = urlsplit(self.path)
        if url.path == "/data":
            content = self.server.data(parse_qs(url.query).get("after", [""])[0])
            self._answer(200, _TYPES[""], content)
        elif url.path in self.server.files:
            self._answer(200, *self.server.files[url.path])
        else:
            self._refuse(404, f"there is no {url.path}")

    def _is_own(self) -> bool:
        """Refuse a request of a foreign web page."""
        names = self.headers.get_all("Host", [])
        named = names[0] if len(names) == 1 else ""
        name, _, port = named.rpartition(":")
        is_link = self.path == "/"  # another page may link to this one, but not read it
        is_own = is_link or self.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
        if is_own and (name if port.isdigit() else named).lower() in _OWN_NAMES:
            return True
        self._refuse(403, "only pages of this machine are answered")
        return False

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a request that is no GET, or no HTTP."""
        is_method = code == 501
        self._refuse(405 if is_method else code, "only GET is answered" if is_method else message or "bad request")

    def _refuse(self, status: int, text: str) -> None:
        self.close_connection = True
        self._answer(status, "text/plain", f"{text}\n".encode())

    def _answer(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        charset = "; charset=utf-8" if kind.startswith("text/") else ""
        self.send_header("Content-Type", kind + charset)
        self.send_header("Content-Length", str(len(content)))
        if status == 405:
            self.send_header("Allow", "GET")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""
