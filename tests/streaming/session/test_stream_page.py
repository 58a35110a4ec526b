"""The page of a stream: who gets it, what it shows, what is new since a place, and what is left of it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.nn.network import build_network
from snnlab.streaming.event_stream import EventStream
from snnlab.streaming.session import stream_page
from snnlab.streaming.session.stream_page import PageServer, StreamPage

from ...refusals import assert_raises

LAYERS: dict[str, dict[str, Any]] = {
    "conv": {"type": "conv2d", "out_channels": 3, "kernel_size": 3, "bias": False},
    "iaf": {"type": "iaf", "v_threshold": 0.1},
    "flatten": {"type": "flatten"},
    "out": {"type": "linear", "out_features": 2},
}
SHOWN = {"run": "run", "source": "-", "outputs": ["a", "b"], "has_values": False, "speed": None}
FILES = ("/", "/stream.css", "/stream.js")


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    content: bytes


def ask(port: int, path: str = "/", method: str = "GET", **headers: str) -> Reply:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        found = connection.getresponse()
        return Reply(found.status, found.headers, found.read())


def unpacked(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    end = 4 + int.from_bytes(content[:4], "little")
    values = json.loads(content[4:end])
    arrays = values.pop("arrays").items()
    return values, {name: np.frombuffer(content, kind, size, end + at) for name, (kind, at, size) in arrays}


def page_of(shape: tuple[int, int, int] = (2, 4, 6), layers: dict[str, dict[str, Any]] = LAYERS) -> StreamPage:
    """Return the page of a stream in steps of 1 ms, which shows 2 s."""
    network = build_network(layers, in_shape=shape, dt=1.0).network.eval()
    for parameter in network.parameters():
        torch.nn.init.ones_(parameter)
    return StreamPage(EventStream(network), PageServer(0), 1000.0, SHOWN)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[StreamPage]:
    monkeypatch.setattr(stream_page, "_TELLS_S", 0.0)
    with closing(page_of()) as found:
        yield found


@pytest.fixture
def port(page: StreamPage) -> int:
    return page._server.server_address[1]


def feed(page: StreamPage, *events: tuple[int, int, int, int]) -> None:
    """Show events t, x, y, p, and run the steps that they end."""
    columns = np.array(events, np.int64).T.copy()
    page.add_events(dict(zip("txyp", columns, strict=True)))
    for _ in page.timed(page._stream.views(tuple(columns), most=1)):
        pass


def test_a_page_and_its_files_are_served_and_load_nothing_from_elsewhere(port: int) -> None:
    replies = [ask(port, path) for path in FILES]
    kinds = [reply.headers["Content-Type"].partition(";")[0] for reply in replies]
    assert kinds == ["text/html", "text/css", "text/javascript"]
    assert b"<title>" in replies[0].content
    assert all(text not in reply.content for reply in replies for text in (b"http:", b"https:"))
    assert "default-src 'none'" in replies[0].headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/../stream_page.py", "/stream_page.py", "//etc/passwd", "/data/", "/%2e%2e/", "//["])
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
    assert ask(port, "/data", method).status == 501


def test_browsers_that_vanish_or_send_no_request_keep_nobody_waiting(port: int) -> None:
    with ExitStack() as opened:
        for sent in (b"\x16\x03\x01 hello\r\n\r\n", b"GET / HT", b"", b"GET /data HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            opened.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(sent)
        assert ask(port).status == 200
    assert ask(port).status == 200


def test_a_port_in_use_is_refused_by_its_number(port: int) -> None:
    with assert_raises(ConfigError, "--page", port, "in use"):
        PageServer(port)


def test_a_page_gets_all_first_and_then_what_is_new(page: StreamPage, port: int) -> None:
    feed(page, (1000, 0, 0, 1), (2000, 5, 3, 0), (2500, 0, 0, 0), (2600, 6, 0, 1), (2600, 0, -1, 1))
    page.add_answer(2, np.array([0.25, 0.75]))
    values, arrays = unpacked(ask(port, "/data").content)
    assert (values["layout"]["outputs"], values["layout"]["picture"]) == (["a", "b"], [4, 6])
    assert values["layout"]["layers"] == [["iaf", [3, 2, 4]]]
    assert (values["now_ms"], values["first_column"]) == (2.5, 0)
    assert (arrays["pixels"].tolist(), arrays["polarities"].tolist()) == ([0, 23], [0, 0])
    np.testing.assert_allclose(arrays["pixels_ms"], [0, -0.5], atol=1e-6)
    assert arrays["answers"].tolist() == [0.25, 0.75]
    np.testing.assert_allclose(arrays["answers_ms"], [-0.5], atol=1e-6)
    assert arrays["times_ms"].tolist() == [-1.5, -0.5]
    assert arrays["raster0"].tolist() == page._spikes[0].tolist()  # two steps are one column of 3 channels
    assert arrays["raster0"].any()
    feed(page, (3000, 1, 1, 1))
    values, arrays = unpacked(ask(port, f"/data?after={values['next']}").content)
    assert values["layout"] is None
    assert 7 in arrays["pixels"]
    assert 23 not in arrays["pixels"]
    assert (arrays["answers"].size, arrays["times_us"].size, arrays["raster0"].size) == (0, 1, 0)


def test_a_page_that_was_away_gets_what_is_left(page: StreamPage, port: int) -> None:
    for n in range(3000):
        page.add_answer(n, np.array([n, 0.0]))
    feed(page, (0, 0, 0, 0), (4_000_000, 0, 0, 0))
    values, arrays = unpacked(ask(port, f"/data?after={page._name}.3.5.0.0").content)
    assert arrays["answers"][::2].tolist() == list(range(3000 - 1000, 3000))
    assert values["first_column"] == 2000 - 1001
    assert arrays["raster0"].size == 1001 * 3


def test_a_place_in_another_stream_or_of_nonsense_is_the_beginning(page: StreamPage, port: int) -> None:
    for text in ("other.5.5.5.5", f"{page._name}.x", f"{page._name}.1.2.3.4.5.6", "", "%00"):
        values, _ = unpacked(ask(port, f"/data?after={text}").content)
        assert values["layout"] is not None, text
    _, arrays = unpacked(ask(port, f"/data?after={page._name}.99.-4.99.{9**30}").content)
    assert all(array.size == 0 for array in arrays.values())


def test_a_large_sensor_is_shown_smaller() -> None:
    layers = {"pool": {"type": "sum_pool", "kernel_size": 80}, "flatten": {"type": "flatten"}, "out": LAYERS["out"]}
    with closing(page_of((2, 720, 1280), layers)) as page:
        feed(page, (1000, 1279, 719, 1))
        values, arrays = unpacked(page.data(""))
    assert (values["layout"]["picture"], values["layout"]["layers"]) == ([180, 320], [])
    assert arrays["pixels"].tolist() == [180 * 320 - 1]
