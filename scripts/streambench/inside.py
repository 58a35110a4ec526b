"""Times each step of the engine and of the exported C within compiled loops, without a call from Python."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from streambench.work import Recording, Work

from snnlab.interop.c99.c_folder import EVENT, Recorded, files_of
from snnlab.interop.c99.c_network import InputMap, c_network
from snnlab.nn.network_form import network_form
from snnlab.streaming.event_loops import run_step
from snnlab.streaming.event_stream import EventStream

Loop = Callable[[np.ndarray, np.ndarray, np.ndarray], None]

_clock_gettime = ctypes.CDLL(None).clock_gettime
_clock_gettime.argtypes, _clock_gettime.restype = [ctypes.c_int, ctypes.c_size_t], ctypes.c_int
_MONOTONIC = 1


@njit
def _now(moment: Any) -> int:
    _clock_gettime(_MONOTONIC, moment.ctypes.data)
    return moment[0] * 1_000_000_000 + moment[1]


@njit
def _engine_steps(places: Any, x: Any, y: Any, p: Any, output: Any, stops: Any, outputs: Any, ns: Any) -> None:
    moment, first = np.zeros(2, np.int64), 0
    for n in range(stops.size):
        columns = x[first : stops[n]], y[first : stops[n]], p[first : stops[n]]
        begun = _now(moment)
        run_step(places, columns[0], columns[1], columns[2])
        ns[n] = _now(moment) - begun
        outputs[n] = output[0]
        first = stops[n]


def _c_steps(step: Any) -> Any:
    """Return the loop over the steps of a compiled network."""

    @njit
    def steps(state: Any, events: Any, size: Any, output: Any, stops: Any, outputs: Any, ns: Any) -> None:
        moment, first = np.zeros(2, np.int64), 0
        for n in range(stops.size):
            begun = _now(moment)
            step(state.ctypes.data, events.ctypes.data + size * first, stops[n] - first, output.ctypes.data)
            ns[n] = _now(moment) - begun
            outputs[n] = output
            first = stops[n]

    return steps


def inside(work: Work, recording: Recording, rounds: int) -> dict[str, Any]:
    """Return the times of each step of both, in turns, and how many outputs have other bits.

    Shape:
        engine, c: `[rounds, T]`, us.
    """
    steps = recording.steps(work.dt)
    stops = np.cumsum([columns[0].size for columns in steps])
    engine, compiled = _engine(work, recording), _compiled(work, recording, int(stops[-1]))
    found: dict[str, list[np.ndarray]] = {"engine": [], "c": []}
    size = int(np.prod(EventStream(work.network, work.in_shape).out_shape))
    outputs = {name: np.zeros((stops.size, size), np.float32) for name in found}
    for _ in range(rounds):
        for name, loop in (("engine", engine), ("c", compiled)):
            ns = np.zeros(stops.size, np.int64)
            loop(stops, outputs[name], ns)
            found[name].append(ns / 1e3)
    one, other = (array.view(np.int32) for array in outputs.values())
    return {name: np.array(us) for name, us in found.items()} | {"differ": int((one != other).sum()), "size": one.size}


def _engine(work: Work, recording: Recording) -> Loop:
    stream = EventStream(work.network, work.in_shape)
    places, x, y, p = stream.places, *recording.events
    output = stream.step([], [], []).reshape(1, -1)

    def run(stops: np.ndarray, outputs: np.ndarray, ns: np.ndarray) -> None:
        stream.reset()
        _engine_steps(places, x, y, p, output, stops, outputs, ns)

    return run


def _compiled(work: Work, recording: Recording, number: int) -> Loop:
    """Return the loop of the network in C, as `make` of its folder compiles it."""
    form = network_form(work.network, work.in_shape)
    polarities, height, width = work.in_shape
    network = c_network(form, "net", InputMap(width, height, polarities), work.name)
    events = np.zeros(number, EVENT)
    for name, column in zip("xyp", recording.events, strict=True):
        events[name] = column[:number]
    with tempfile.TemporaryDirectory() as folder:
        none = Recorded("none", [events[:0]], np.zeros((1, *work.in_shape), np.float32), work.dt)
        for name, content in files_of(network, form, none).items():
            (Path(folder) / name).write_bytes(content)
        subprocess.run(["make", "--quiet"], cwd=folder, check=True)
        library = ctypes.CDLL(f"{folder}/libnet.so")
    library.net_step.argtypes = [ctypes.c_size_t, ctypes.c_size_t, ctypes.c_uint32, ctypes.c_size_t]
    library.net_step.restype = ctypes.c_uint32
    library.net_reset.argtypes, library.net_reset.restype = [ctypes.c_size_t], None
    memory, output = np.zeros(network.state_bytes + 63, np.uint8), np.zeros(int(np.prod(form.out_shape)), np.float32)
    state, loop = memory[-memory.ctypes.data % 64 :], _c_steps(library.net_step)

    def run(stops: np.ndarray, outputs: np.ndarray, ns: np.ndarray) -> None:
        library.net_reset(state.ctypes.data)
        loop(state, events, EVENT.itemsize, output, stops, outputs, ns)

    return run
