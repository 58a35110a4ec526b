"""Streams that are closed, full, unread or of another encoding, and the end of a command."""

from __future__ import annotations

import codecs
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from snnlab import process
from snnlab.process import Output, OutputClosedError, limit_warning_errors, until_pipe_closes


@contextmanager
def stdout_to_a_pipe(*, read: bool) -> Iterator[tuple[Output, int]]:
    """Replace stdout by an `Output` that writes to a pipe; yield it and the reading end, which may be closed."""
    before, (reader, writer) = sys.stdout, os.pipe()
    if not read:
        os.close(reader)
    sys.stdout = output = Output(os.fdopen(writer, "w", encoding="ascii"))
    try:
        yield output, reader
    finally:
        sys.stdout = before
        output.close()
        if read:
            os.close(reader)


def test_output_without_a_reader_is_lost_and_raises_nothing() -> None:
    with stdout_to_a_pipe(read=False) as (output, _):
        print("lost")
        output.flush()
        print("and more", flush=True)
        assert isinstance(output.lost, BrokenPipeError)


def test_a_table_ends_when_its_reader_closes_the_pipe() -> None:
    seen: list[int] = []
    with stdout_to_a_pipe(read=False), until_pipe_closes():
        for number in range(100_000):
            print("x" * 100)
            seen.append(number)
    assert 0 < len(seen) < 100_000


def test_the_end_of_reading_is_no_error_that_a_library_would_take_for_its_own() -> None:
    assert not issubclass(OutputClosedError, OSError)


def test_characters_that_an_encoding_has_not_become_question_marks_and_bytes_of_names_stay() -> None:
    codecs.register_error(process._ERROR_HANDLER, process._replace)
    with stdout_to_a_pipe(read=True) as (output, reader):
        print("34 \N{MULTIPLICATION SIGN} 34", "caf\udce9")
        output.flush()
        assert os.read(reader, 100) == b"34 ? 34 caf\xe9\n"


def written(text: str, writer: str = "snnlab.x") -> bytes:
    """Return the bytes that a stream gets for a text that a module prints."""
    codecs.register_error(process._ERROR_HANDLER, process._replace)
    module = {"__name__": writer, "text": text}
    with stdout_to_a_pipe(read=True) as (output, reader):
        exec("import sys; print(text); print('shown', file=sys.stdout)", module)
        output.flush()
        found = os.read(reader, 1000)
    assert found.endswith(b"\nshown\n")
    return found.removesuffix(b"\nshown\n")


@pytest.mark.parametrize(
    "hidden",
    ["\x1b]0;owned\x07", "\x1b[2J", "\x1b[31m", "\r", "\b", "\0", "\x9b2J", "\u202e", "\u2066", "\u200b", "\udc9b"],
)
def test_no_text_acts_on_a_terminal(hidden: str) -> None:
    shown = written(f"a{hidden}b\tc")
    assert shown.startswith(b"a\\")
    assert shown.endswith(b"b\tc")
    assert not {*shown} & ({*range(32), *range(127, 256)} - {9})


def test_tables_and_bars_keep_their_colours_and_lines_and_nothing_else() -> None:
    drawn = "\x1b[1;31mred\x1b[0m \x1b[2K\x1b[1A\r\x1b[?25l"
    assert written(drawn, "rich.console") == drawn.encode()
    assert written(drawn, "tqdm.utils") == drawn.encode()
    assert b"\x1b" not in written(drawn, "richer")
    for hidden in ("\x1b]0;owned\x07", "\x1b[2J", "\x9b2J", "\x1b[6n", "\x1bc"):
        assert not {0x1B, 0x9B, 0x07} & {*written(f"a{hidden}", "rich.console")}


def test_an_error_that_nothing_catches_is_shown_escaped() -> None:
    done = python("from snnlab import process; process.open_streams(); raise ValueError('a\\x1b[2Jb')")
    assert done.returncode == 1
    assert done.stderr.endswith(b"ValueError: a\\x1b[2Jb\n")


def test_a_stream_of_a_program_around_us_ends_quietly_too() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    before, sys.stdout = sys.stdout, os.fdopen(writer, "w")
    try:
        with until_pipe_closes():
            print("x")
        assert os.path.samefile(f"/proc/self/fd/{writer}", os.devnull)  # later output is lost too
    finally:
        sys.stdout.close()
        sys.stdout = before


def python(code: str, *options: str, **surroundings: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, timeout=60, **surroundings)  # type: ignore[call-overload]


def test_a_command_exits_with_its_status_after_its_exit_functions() -> None:
    code = "import atexit; atexit.register(print, 'at the end'); from snnlab import process; process.open_streams();"
    done = python(f"{code} print('said'); process.exit_at_once(3)")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"said\nat the end\n", b"")


def test_a_command_waits_for_its_threads() -> None:
    thread = "import threading, time; threading.Thread(target=lambda: (time.sleep(.3), print('over'))).start()"
    done = python(f"from snnlab import process; process.open_streams()\n{thread}\nprocess.exit_at_once(0)")
    assert (done.returncode, done.stdout) == (0, b"over\n")


def test_closed_streams_are_open_again_nowhere(tmp_path: Path) -> None:
    code = (
        "from snnlab import process as s; s.open_streams(); print('x'); f = open('file', 'w'); f.write(str(f.fileno()))"
    )
    assert os.system(f'cd {tmp_path} && {sys.executable} -c "{code}" >&- 2>&- <&-') == 0
    assert int((tmp_path / "file").read_text()) > 2


@pytest.mark.parametrize(("option", "spared"), [("error", True), ("ignore", False)])
def test_warnings_of_other_packages_end_nothing(monkeypatch: pytest.MonkeyPatch, option: str, spared: bool) -> None:
    with process.warnings.catch_warnings():
        monkeypatch.setattr(sys, "warnoptions", [option])
        before = list(process.warnings.filters)
        limit_warning_errors()
        found = [entry for entry in process.warnings.filters if entry not in before]
    assert bool(found) == spared
    if spared:
        module = found[0][3]
        assert module is not None
        assert module.match("matplotlib.style")
        assert not module.match("snnlab.nn")
