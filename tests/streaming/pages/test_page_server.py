"""The server of a page: own pages only, GET only, slow browsers, a limit."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from typing import NamedTuple

import numpy as np
import pytest

from snnlab.errors import ConfigError
from snnlab.streaming.pages import page_server
from snnlab.streaming.pages.page_server import PageServer, open_port, packed

from ...marks import one_long
from ...refusals import assert_raises


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


def test_a_request_for_two_hosts_is_refused(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /data HTTP/1.1\r\nHost: localhost\r\nHost: rebound.example\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 403"


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


# A client waits for seconds until a full queue takes its connection.
@pytest.mark.parametrize("sent", one_long([b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"GET / HT", b""]))
def test_many_connections_without_a_request_lock_nobody_out(port: int, sent: bytes) -> None:
    with ExitStack() as opened, closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as owner:
        owner.request("GET", "/")
        assert owner.getresponse().read()
        many = [opened.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(80)]
        for one in many:
            with suppress(OSError):
                one.sendall(sent)
        assert ask(port).status == 200
        owner.request("GET", "/data?after=")  # on the connection from before
        assert owner.getresponse().status == 200
        many[0].settimeout(20)
        with suppress(ConnectionError):
            assert many[0].recv(1) == b""


def test_a_request_in_small_pieces_has_one_deadline(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_server, "_REQUEST_S", 0.2)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(0.02)
        sent = 0
        while True:
            try:
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: "[sent : sent + 1] or b"a")
                sent += 1
                assert sent < 1000
                if client.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert ask(port).status == 200


def test_a_connection_is_used_again_for_longer_than_the_deadline_of_a_request(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_server, "_REQUEST_S", 0.3)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.connect()
        used = connection.sock
        for _ in range(10):
            connection.request("GET", "/data")
            assert connection.getresponse().read()
            time.sleep(0.05)
        assert connection.sock is used


def test_a_port_in_use_is_refused_by_its_number(port: int) -> None:
    with assert_raises(ConfigError, "--page", port, "in use"):
        open_port(port, "--page")
    with assert_raises(ConfigError, "--page", 70000):
        open_port(70000, "--page")
