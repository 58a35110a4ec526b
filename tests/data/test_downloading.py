"""Downloads, from servers of this process that behave well, know no ranges, cut connections or are busy."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from snnlab.data import fetching
from snnlab.data.fetching import Archive, fetch_archive, parse_archives
from snnlab.errors import ConfigError, DataError, UnknownSettingError

from ..refusals import assert_raises

ROOT = Path(__file__).parents[2]
CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT, and records the requests.

    Args:
        ranges: Whether it goes on where it is asked to.
        cuts: After how many bytes each of the first connections ends.
        statuses: What it answers to the first requests, instead of the content.
    """

    daemon_threads = True

    def __init__(self, ranges: bool = True, cuts: tuple[int, ...] = (), statuses: tuple[int, ...] = ()) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges, self.cuts, self.statuses = ranges, list(cuts), list(statuses)
        self.requested: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/a.bin"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        requested = self.headers["Range"]
        server.requested.append(requested)
        first = int(requested.removeprefix("bytes=").removesuffix("-")) if requested and server.ranges else 0
        status = server.statuses.pop(0) if server.statuses else 206 if first else 200
        if first >= len(CONTENT):
            status = 416
        self.send_response(status)
        body = CONTENT[first:] if status in (200, 206) else b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PAUSE_S", 0.0)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server."""
    servers: list[Server] = []

    def start(**settings: Any) -> Server:
        servers.append(Server(**settings))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def archive(server: Server, md5: str = MD5) -> Archive:
    return Archive("a.bin", md5, server.url)


def test_a_file_is_fetched_once(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve()
    for _ in range(2):
        assert fetch_archive(archive(server), tmp_path / "new").read_bytes() == CONTENT
    assert server.requested == [None]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.bin"]


def test_a_download_of_a_killed_process_is_resumed(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve()
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:123_456])
    assert fetch_archive(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.requested == ["bytes=123456-"]


def test_a_whole_part_that_was_not_renamed_is_used(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve()
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    assert fetch_archive(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.requested == ["bytes=300000-"]


def test_a_cut_connection_is_resumed_where_it_ended(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(cuts=(100_000, 50_000))
    assert fetch_archive(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.requested == [None, "bytes=100000-", "bytes=150000-"]


def test_a_server_without_ranges_starts_again(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(ranges=False, cuts=(100_000, 200_000))
    assert fetch_archive(archive(server), tmp_path).read_bytes() == CONTENT
    assert len(server.requested) == 3


def test_repeated_cuts_at_one_place_end_the_download_and_keep_the_part(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(ranges=False, cuts=(1000,) * 100)
    with assert_raises(ConnectionError, 5, server.url):
        fetch_archive(archive(server), tmp_path)
    assert (tmp_path / "a.bin.part").read_bytes() == CONTENT[:1000]


def test_a_busy_server_is_tried_again(serve: Callable[..., Server], tmp_path: Path) -> None:
    assert fetch_archive(archive(serve(statuses=(503, 429))), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "words"), [(404, "404"), (202, "202")])
def test_a_server_without_the_file_is_not_tried_again(
    serve: Callable[..., Server], tmp_path: Path, status: int, words: str
) -> None:
    server = serve(statuses=(status,))
    with pytest.raises(OSError, match=words):
        fetch_archive(archive(server), tmp_path)
    assert len(server.requested) == 1


def test_a_host_that_does_not_answer_is_reported_at_once(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve()
    gone = archive(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(OSError, match="refused"):
        fetch_archive(gone, tmp_path)


def test_another_checksum_is_reported_with_both_and_the_file_removed(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    other = "0" * 32
    with assert_raises(DataError, "a.bin", "download", MD5, other):
        fetch_archive(archive(serve(), other), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_put_there_by_hand_is_used_if_it_is_the_right_one(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    assert fetch_archive(Archive("a.bin", MD5), tmp_path) == tmp_path / "a.bin"
    with assert_raises(DataError, "a.bin", "fetch", MD5, "0" * 32):
        fetch_archive(Archive("a.bin", "0" * 32), tmp_path)


def test_a_full_disk_is_no_cut_connection(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()

    def full(*_: Any) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetching, "_receive", full)
    with assert_raises(OSError, "space"):
        fetch_archive(archive(server), tmp_path)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "data").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_archives_of_every_yaml_can_be_used(path: Path) -> None:
    archives = parse_archives(yaml.safe_load(path.read_text(encoding="utf-8")).get("archives", []))
    assert len({archive.md5 for archive in archives}) == len({archive.name for archive in archives}) == len(archives)


@pytest.mark.parametrize(
    ("node", "message_parts"),
    [
        ({"name": "a.zip"}, ("archives[0]",)),
        ({"name": "a.zip", "md5": "1" * 32, "link": "x"}, ("archives[0].link",)),
        ({"name": "../a.zip", "md5": "1" * 32}, ("archives[0].name",)),
        ({"name": "a.zip", "md5": "abc"}, ("archives[0].md5", "32", "0", "9")),
        ({"name": "a.zip", "md5": "1" * 32, "url": "a.org/a.zip"}, ("archives[0].url",)),
        ("a.zip", ("archives[0]", "mapping")),
    ],
)
def test_an_invalid_archive_is_named_by_its_place(node: Any, message_parts: tuple) -> None:
    with assert_raises((ConfigError, UnknownSettingError), *message_parts):
        parse_archives([node])
