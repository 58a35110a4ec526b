"""The process that serves the page of a stream: `python -m snnlab.streaming.pages.stream_process LISTENER MEMORY`.

It has an interpreter of its own, so that no request delays a step. The arguments are the numbers of open files: the
socket that listens, and the memory of `StreamMemory`. Standard input begins with the layout as a line of JSON, and ends
with the stream, also after kill -9.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress

from snnlab.process import open_streams
from snnlab.streaming.pages.page_server import PageServer, packed
from snnlab.streaming.pages.stream_memory import (
    ENDED,
    FAILED,
    REQUESTS,
    RUNNING,
    Place,
    StreamLayout,
    StreamMemory,
    changes,
)

# How long open pages are told of the end, s: a page in the background asks once a second.
_TELLS_S = 1.5
_NICE = 10


def stream_data(memory: StreamMemory, after: str) -> bytes:
    """Return what a page needs after a place."""
    memory.state[REQUESTS] += 1
    return packed(*changes(memory, Place.parse(after)))


def main() -> None:
    """Serve until the stream ends, and tell it to the pages that are open."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the stream
    with suppress(OSError, AttributeError):  # a stream in real time (chrt) has a page in the time that it leaves
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    with suppress(OSError):
        os.nice(_NICE)
    listener, memory_file = (int(word) for word in sys.argv[1:])
    memory = StreamMemory(StreamLayout(**json.loads(sys.stdin.readline())), memory_file)
    server = PageServer(socket.socket(fileno=listener), "stream", lambda after: stream_data(memory, after))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    sys.stdin.read()
    if memory.state[ENDED] == RUNNING:
        memory.state[ENDED] = FAILED
    server.close_listener()
    time.sleep(_TELLS_S)


if __name__ == "__main__":
    open_streams()
    main()
