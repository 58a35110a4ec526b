"""AEDAT 4: packets, compressions, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from snnlab.data.aedat4 import unpack_lz4
from snnlab.data.camera_files import read_camera_file
from snnlab.errors import DataError, MissingPackageError

from ..fixtures.camera_files import COLUMNS, aedat4_header, aedat4_packet, events, lz4_frame, write_aedat4
from ..refusals import assert_raises


def unpacked(frame: bytes, room: int = 1 << 16) -> bytes | int:
    out = np.zeros(room, np.uint8)
    size = unpack_lz4(np.frombuffer(frame, np.uint8), out)
    return out[:size].tobytes() if size >= 0 else size


def framed(*blocks: bytes, flags: int = 0x40) -> bytes:
    """Return a frame; a block that begins with ! is of plain bytes."""
    body = b"".join(
        struct.pack("<I", len(block) - 1 | 1 << 31) + block[1:]
        if block.startswith(b"!")
        else struct.pack("<I", len(block)) + block
        for block in blocks
    )
    return struct.pack("<IBBB", 0x184D2204, flags, 0x40, 0) + body + bytes(4)


def test_a_copy_may_read_what_it_writes() -> None:
    assert unpacked(framed(b"\x1fa\x01\x00\x05\x50zzzzz")) == b"a" * 25 + b"zzzzz"


def test_a_block_may_copy_from_the_block_before_and_may_be_plain() -> None:
    assert unpacked(framed(b"!abcdef", b"\x00\x06\x00\x50zzzzz")) == b"abcdefabcdzzzzz"


def test_a_frame_may_state_its_size() -> None:
    frame = framed(b"!abc", flags=0x48)
    assert unpacked(frame[:6] + bytes(8) + frame[6:]) == b"abc"


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"no frame of lz4",
        framed(b"\x00\x01\x00\x50zzzzz"),  # copies from before the beginning
        framed(b"\x10a\x00\x00\x50zzzzz"),  # copies from itself
        framed(b"\xf0\xff\xff"),  # a length without an end
        framed(b"\x50ab"),  # ends within bytes
        framed(b"\x1fa\x01\x00"),  # a length is missing
        framed(b"!abc")[:-6],
    ],
)
def test_a_damaged_frame_is_no_size(frame: bytes) -> None:
    assert unpacked(frame) == -1


def test_a_frame_without_room_writes_nothing_behind_it() -> None:
    out = np.zeros(64, np.uint8)
    assert unpack_lz4(np.frombuffer(framed(b"\x1fa\x01\x00\xff\x05\x50zzzzz"), np.uint8), out[:32]) == -2
    assert not out[32:].any()


def test_a_packet_that_claims_more_events_than_it_holds_is_named(tmp_path: Path) -> None:
    packet = bytearray(aedat4_packet(np.zeros(3, COLUMNS)))
    at = len(packet) - 3 * 16 - 4
    packet[at : at + 4] = struct.pack("<I", 2**31)
    path, head = tmp_path / "a.aedat4", aedat4_header(0, ["EVTS"], (8, 8))
    path.write_bytes(head + struct.pack("<ii", 0, len(packet)) + packet)
    with assert_raises(DataError, path, "packet 0", f"byte {len(head)}"):
        read_camera_file(path)


def test_a_file_that_is_cut_names_the_packet(tmp_path: Path) -> None:
    path = tmp_path / "a.aedat4"
    write_aedat4(path, np.zeros(100, COLUMNS), packet=30)
    path.write_bytes(path.read_bytes()[:-200])
    with assert_raises(DataError, path, "truncated", "packet 6"):
        read_camera_file(path)


@pytest.mark.parametrize(
    ("streams", "fact"), [(["EVTS", "FRME", "EVTS"], "streams 0, 2"), (["FRME"], "no stream of events")]
)
def test_events_of_several_cameras_or_of_none_are_refused(streams: list[str], fact: str, tmp_path: Path) -> None:
    path = tmp_path / "a.aedat4"
    path.write_bytes(aedat4_header(0, streams, (8, 8)))
    with assert_raises(DataError, path, fact):
        read_camera_file(path)


def test_a_header_with_declarations_is_not_parsed(tmp_path: Path) -> None:
    head = aedat4_header(0, ["EVTS"], (8, 8)).replace(b'<dv version="2.0">', b"<!--------------->")
    (tmp_path / "a.aedat4").write_bytes(head)
    with assert_raises(DataError, tmp_path / "a.aedat4", "streams"):
        read_camera_file(tmp_path / "a.aedat4")


def test_zstandard_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.aedat4"
    write_aedat4(path, np.zeros(3, COLUMNS), 3)
    monkeypatch.setattr("snnlab.data.aedat4.find_spec", lambda name: None)
    with assert_raises(MissingPackageError, path, "Zstandard", "snnlab-train[aedat]"):
        read_camera_file(path)


def test_zstandard_is_read_by_its_package(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard", reason="the extra aedat is not installed")
    found = events([5, 7], [1, 2], [3, 4], [0, 1])
    packet = zstandard.ZstdCompressor().compress(aedat4_packet(found))
    path = tmp_path / "a.aedat4"
    path.write_bytes(aedat4_header(3, ["EVTS"], (8, 8)) + struct.pack("<ii", 0, len(packet)) + packet)
    assert {name: column.tolist() for name, column in read_camera_file(path).items()} == {
        name: found[name].tolist() for name in "txyp"
    }


def test_a_compression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snnlab.data.aedat4._LARGEST_PACKET", 1 << 18)
    content = lz4_frame(aedat4_packet(np.zeros(3, COLUMNS)))[:-9]
    bomb = framed(b"\x1fa\x01\x00" + b"\xff" * 5000 + b"\x05\x50zzzzz")
    path = tmp_path / "a.aedat4"
    for body in (content, bomb):
        path.write_bytes(aedat4_header(1, ["EVTS"], (8, 8)) + struct.pack("<ii", 0, len(body)) + body)
        with assert_raises(DataError, path, "decompressed"):
            read_camera_file(path)
