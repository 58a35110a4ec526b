"""The server of a page: own pages only, GET only, slow browsers, a limit."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import NamedTuple

import numpy as np
import pytest

from snnlab.errors import ConfigError
from snnlab.live_pages.page_server import PageServer, open_port, packed

from ..refusals import assert_raises


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    content: bytes


def ask(port: int, path: str = "/", method: str = "GET", **headers: str) -> Reply:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        found = connection.getresponse()
        return Reply(found.status, found.headers, found.read())


def numbers(after: str) -> bytes:
    return packed({"after": after}, {"some": np.arange(3, dtype=np.float32), "more": np.zeros(5, np.uint8)})


@pytest.fixture
def port() -> Iterator[int]:
    listener = open_port(0, "--page")
    server = PageServer(listener, "stream", numbers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield listener.getsockname()[1]
    server.close_listener()
    thread.join()


def test_a_page_its_files_and_its_data_are_served(port: int) -> None:
    assert b"<title>" in ask(port).content
    kinds = {path: ask(port, path).headers["Content-Type"] for path in ("/", "/page.css", "/page.js", "/stream.js")}
    assert [kind.partition(";")[0] for kind in kinds.values()] == [
        "text/html",
        "text/css",
        *["text/javascript"] * 2,
    ]
    content = ask(port, "/data?after=a.1").content
    length = int.from_bytes(content[:4], "little")
    values = json.loads(content[4 : 4 + length])
    assert (values["after"], (4 + length) % 8) == ("a.1", 0)
    kind, place, size = values["arrays"]["some"]
    assert np.frombuffer(content, kind, size, 4 + length + place).tolist() == [0, 1, 2]
    assert values["arrays"]["more"] == ["u1", 16, 5]


def test_a_page_loads_nothing_from_elsewhere(port: int) -> None:
    text = b"".join(ask(port, path).content for path in ("/", "/page.css", "/page.js", "/stream.js"))
    assert b"http:" not in text
    assert b"https:" not in text
    assert "default-src 'none'" in ask(port).headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/../page_server.py", "/page_server.py", "//etc/passwd", "/data/", "/%2e%2e/"])
def test_other_files_are_not_served(port: int, path: str) -> None:
    assert ask(port, path).status == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "rebound.example"}, 403),
        ({"Host": "rebound.example:8000"}, 403),
        ({"Host": "127.0.0.1.rebound.example"}, 403),
        ({"Host": ""}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
    ],
)
def test_data_are_for_own_pages_only(port: int, headers: dict[str, str], status: int) -> None:
    assert ask(port, "/data", **headers).status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_only_get_is_answered(port: int, method: str) -> None:
    found = ask(port, "/data", method)
    assert (found.status, found.headers["Allow"]) == (405, "GET")


def test_bytes_that_are_no_request_and_browsers_that_vanish_leave_the_server_running(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as one, socket.create_connection(("127.0.0.1", port)) as other:
        one.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert one.recv(100) != b"HTTP/1.1 200"
        other.sendall(b"GET /data HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert ask(port).status == 200


def test_many_idle_connections_are_refused_with_a_line(port: int) -> None:
    with ExitStack() as opened:
        for _ in range(32):
            opened.enter_context(socket.create_connection(("127.0.0.1", port)))
        found = ask(port)
        assert (found.status, b"32" in found.content) == (503, True)


def test_a_port_in_use_is_refused_by_its_number(port: int) -> None:
    with assert_raises(ConfigError, "--page", port, "in use"):
        open_port(port, "--page")
    with assert_raises(ConfigError, "--page", 70000):
        open_port(70000, "--page")
