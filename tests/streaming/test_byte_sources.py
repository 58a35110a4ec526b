"""Pipes, growing files, sockets: what has arrived, silence, the end."""

from __future__ import annotations

import logging
import os
import socket
import struct
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from snnlab.errors import ConfigError, DataError
from snnlab.streaming.byte_sources import FileSource, PipeSource, SocketSource, parse_address

from ..refusals import assert_raises


def test_a_pipe_gives_what_has_arrived_and_ends_with_its_writer() -> None:
    reading, writing = os.pipe()
    source = PipeSource(reading, closes=True)
    assert source.read(0.001) is None
    os.write(writing, b"one")
    assert source.read(1) == b"one"
    os.write(writing, b"two")
    os.close(writing)
    assert source.read(None) == b"two"
    assert source.read(None) == b""
    source.close()


def test_a_file_is_followed_as_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(b"one two")
    source = FileSource(path, follows=True, position=4)
    assert source.read(1) == b"two"
    assert source.read(0.005) is None
    with path.open("ab") as file:
        file.write(b" three")
    assert source.read(1) == b" three"
    path.write_bytes(b"cut")
    with assert_raises(DataError, "events", 3, 13):
        source.read(1)
    source.close()
    with assert_raises(DataError, "events", 3, 4):
        FileSource(path, position=4)
    whole = FileSource(path)
    assert [whole.read(None), whole.read(None)] == [b"cut", b""]
    whole.close()


def test_one_program_sends_to_a_socket_and_a_second_one_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    source = SocketSource("tcp://127.0.0.1:0")
    assert source.read(0.001) is None
    with socket.create_connection(("127.0.0.1", source.port)) as client:
        client.sendall(b"one")
        assert source.read(5) == b"one"
        with caplog.at_level(logging.WARNING), socket.create_connection(("127.0.0.1", source.port)) as second:
            assert source.read(0.05) is None
            assert second.recv(1) == b""
        assert "refused" in caplog.text
        client.sendall(b"two")
        assert source.read(5) == b"two"
    assert source.read(5) == b""
    source.close()


def test_a_connection_that_sends_nothing_is_no_source() -> None:
    source = SocketSource("tcp://127.0.0.1:0")
    address = ("127.0.0.1", source.port)
    with socket.create_connection(address):
        assert source.read(0.02) is None
    assert (source.read(0.02), source.descriptors()) == (None, ())
    with socket.create_connection(address) as reset:
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert source.read(0.02) is None
    with ExitStack() as opened:
        silent = [opened.enter_context(socket.create_connection(address)) for _ in range(40)]
        assert source.read(0.05) is None
        client = opened.enter_context(socket.create_connection(address))
        client.sendall(b"one")
        assert source.read(5) == b"one"
        for one in silent:
            one.settimeout(5)
            with suppress(ConnectionError):
                assert one.recv(1) == b""
        client.sendall(b"two")
        assert source.read(5) == b"two"
    assert source.read(5) == b""
    source.close()


def test_what_cannot_be_read_is_an_error_of_its_name(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "events", os.O_WRONLY | os.O_CREAT)
    for timeout_s in (None, 1.0):
        with assert_raises(DataError, "mine"):
            PipeSource(descriptor, "mine").read(timeout_s)
    os.close(descriptor)
    for timeout_s in (None, 1.0):
        with assert_raises(DataError, "mine"):
            PipeSource(descriptor, "mine").read(timeout_s)


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    source = PipeSource(reading, closes=True)
    timer = threading.Timer(0.05, lambda: os.write(writing, b"one"))
    timer.start()
    assert source.read(None) == b"one"
    timer.join()
    os.close(writing)
    source.close()


def test_a_port_in_use_is_an_error() -> None:
    source = SocketSource("tcp://127.0.0.1:0")
    address = f"tcp://127.0.0.1:{source.port}"
    with assert_raises(ConfigError, address, "port"):
        SocketSource(address)
    source.close()


@pytest.mark.parametrize(
    "address",
    [
        *("tcp://", "tcp://x", "tcp://x:99999", "tcp://x:y", "tcp://:1", "tcp://x:1/y", "tcp://x:1?", "tcp://x:1?y=2"),
        *("tcp://x:1#", "tcp://x:1#y", "tcp://me@x:1", "tcp://@x:1", "tcp://x:1/", "tcp://x:1;y", "tcp://x :1"),
        *("tcp://x:1\n", "tcp://x:\t1", "tcp://x:+1", "tcp://x:1_0", "tcp://[::1:1", "tcp://x\x00:1"),
    ],
)
def test_other_addresses_are_refused(address: str) -> None:
    with assert_raises(ConfigError, address):
        parse_address(address)
    assert parse_address("tcp://[::1]:7000") == ("::1", 7000)


def test_an_address_is_a_name_and_a_port_in_any_case_and_a_password_is_masked() -> None:
    assert parse_address("tcp://LocalHost:7000") == ("localhost", 7000)
    with assert_raises(ConfigError, "tcp://me:***@x:1") as caught:
        parse_address("tcp://me:secret@x:1")
    assert "secret" not in str(caught.value)
