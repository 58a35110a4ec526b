"""`snnlab watch`: a page of a training while it runs."""

from __future__ import annotations

import os
import sys
import threading
import time
import webbrowser

from snnlab.cli.options import option_port, split_options
from snnlab.errors import ConfigError
from snnlab.live_pages.page_server import PageServer, open_port, packed, page_address, wait_for_interrupt
from snnlab.runs.watched_run import WatchedRun
from snnlab.zoo import run_path

USAGE = """usage: snnlab watch RUN [--port PORT] [--no-browser]

Serve a page of a training while it runs, for a browser on this machine: loss, accuracy, spike rates and silent neurons
by layer, learning rate, time left. It reads the files of the run's folder, so that it slows no training, and works on a
run that has ended. The address is printed, and opened in a browser where there is a display; PORT is any free one by
default. Ctrl-C ends it.

  snnlab watch outputs/NAME/TIME_SEED
"""


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, words = split_options("watch", arguments)
    if len(words) != 1:
        raise ConfigError("watch", f"takes one folder of a run, such as outputs/NAME/TIME_SEED, got {len(words)}")
    run = WatchedRun(run_path(words[0]))
    listener = open_port(option_port(options, "--port"), "--port")
    address = page_address(listener)
    server = PageServer(listener, "watch", lambda after: run_data(run, after))
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    print(f"snnlab: page at {address}; Ctrl-C ends it", file=sys.stderr, flush=True)
    if "--no-browser" not in options and has_display():
        webbrowser.open(address)
    wait_for_interrupt()
    server.close_listener()
    return 0


def run_data(run: WatchedRun, after: str) -> bytes:
    """Return what a page needs; little if the files are as they were."""
    signature = run.signature()
    if signature == after:
        return packed({"next": after, "now_s": time.time(), "same": True}, {})
    values, arrays = run.read()
    return packed({**values, "next": signature, "now_s": time.time(), "same": False}, arrays)


def has_display() -> bool:
    """Return whether a browser has a window to open: one in the terminal would take it over."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
