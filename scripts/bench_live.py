"""Measures `snnlab stream` as a user meets it: another process writes recordings, at their own pace, into a FIFO.

    python scripts/bench_live.py RUN RECORDING.npy ... --minutes 60
    python scripts/bench_live.py RUN RECORDING.npy ... --minutes 2 --form text --dt 1

The recordings, columns x, y, p, t, are looped. A writer process sends the events of each chunk of time when the chunk
is over, and notes when; this process reads the JSON lines, and notes when. Latencies over all samples:

    after the end   from the write that ends a step (the first with an event of a later step) to its line
    event to line   from the write of each event to the line of its step, the rest of the step included

Reported are also the events that were lost, CPU time, and resident memory of the command each 10,000 lines. It prints a
table and writes bench_live.json. The machine's other processes are in the figures: say what ran.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snnlab.streaming.event_decoders import EVENT
from snnlab.streaming.latency import LatencyHistogram, bin_of

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def parser() -> argparse.ArgumentParser:
    about, _, _ = (__doc__ or "").rpartition("\n")
    made = argparse.ArgumentParser("bench_live.py", description=about, formatter_class=argparse.RawTextHelpFormatter)
    add = made.add_argument
    add("run", type=Path, metavar="RUN", help="folder of a run, such as that of snnlab import")
    add("recordings", nargs="+", type=Path, metavar="RECORDING", help=".npy files with columns x, y, p, t")
    add("--minutes", type=float, default=2.0, help="length (default 2)")
    add("--dt", type=float, default=1.0, help="length of a step, ms, and from line to line (default 1)")
    add("--chunk-us", type=int, default=500, help="time between two writes, us (default 500)")
    add("--time-us", type=int, default=1000, help="unit of the recordings' times, us; spread evenly (default 1000)")
    add("--form", choices=("binary", "text"), default="binary", help="form of the events (default binary)")
    add("--out", type=Path, default=Path("outputs/bench_live"), metavar="FOLDER")
    return made


class Loop(NamedTuple):
    """Recordings one after another, as one that is repeated.

    Attributes:
        events: The events, `[N]` of `EVENT`.
        stops: For each chunk, the number of events before its end.
        us: Length, a whole number of chunks and of ms.
    """

    events: np.ndarray
    stops: np.ndarray
    us: int


def looped(paths: list[Path], time_us: int, chunk_us: int) -> Loop:
    """Return recordings one after another; events of equal times are spread evenly over the unit of time."""
    parts, start = [], 0
    for path in paths:
        x, y, p, t = np.load(path, allow_pickle=False).astype(np.int64)[:, :4].T
        _, first, count = np.unique(t, return_index=True, return_counts=True)
        place = np.arange(t.size) - np.repeat(first, count)
        events = np.zeros(t.size, EVENT)
        events["t"] = (t - t[0]) * time_us + place * time_us // np.repeat(count, count) + start
        events["x"], events["y"], events["p"] = x, y, p
        parts.append(events)
        whole = np.lcm(chunk_us, 1000)
        start = int(-(-(int(events["t"][-1]) + 1) // whole) * whole)
    events = np.concatenate(parts)
    stops = np.searchsorted(events["t"], np.arange(1, start // chunk_us + 1) * chunk_us)
    return Loop(events, stops, start)


def chunks(loop: Loop, chunk_us: int, number: int) -> Iterator[np.ndarray]:
    """Yield the events of each chunk, with times that go on."""
    for n in range(number):
        lap, place = divmod(n, loop.stops.size)
        events = loop.events[loop.stops[place - 1] if place else 0 : loop.stops[place]].copy()
        events["t"] += lap * loop.us
        yield events


def write(fifo: Path, loop: Loop, written: Any, settings: argparse.Namespace) -> None:
    """Write each chunk of events when it is over, and note when."""
    times = np.frombuffer(written, np.float64)
    with fifo.open("wb", buffering=0) as file:
        begun = time.perf_counter()
        for n, events in enumerate(chunks(loop, settings.chunk_us, times.size)):
            text = events.tobytes() if settings.form == "binary" else as_lines(events)
            rest = begun + (n + 1) * settings.chunk_us / 1e6 - time.perf_counter()
            if rest > 0:
                time.sleep(rest)
            times[n] = time.perf_counter()
            file.write(text)


def as_lines(events: np.ndarray) -> bytes:
    return "".join(f"{t},{x},{y},{p}\n" for t, x, y, p, _ in events.tolist()).encode()


class Samples:
    """Latencies of the lines, from the times of the writes.

    Args:
        loop: The recordings.
        written: Time of each write, s.
        settings: The command line.
    """

    def __init__(self, loop: Loop, written: Any, settings: argparse.Namespace) -> None:
        # Python's own numbers: those of numpy take ten times as long, one by one, and the machine is measured too.
        self._written = memoryview(written).cast("B").cast("d")
        self._chunk_us, self._dt_us = settings.chunk_us, settings.dt * 1e3
        counts = np.diff(loop.stops, prepend=0)
        self._counts, busy = counts.tolist(), np.flatnonzero(counts)
        following = np.searchsorted(busy, np.arange(counts.size))
        self._ending = np.append(busy, counts.size + busy[0])[following].tolist()
        self.after_end, self.event_to_line = LatencyHistogram(), LatencyHistogram()

    def add(self, step: int, read_s: float) -> None:
        """Count the line of a step, the first from 0, that was read at a time."""
        first, after = int(step * self._dt_us // self._chunk_us), int((step + 1) * self._dt_us // self._chunk_us)
        for chunk in range(first, after):
            if count := self._counts[chunk % len(self._counts)]:
                self.event_to_line.add((read_s - self._written[chunk]) * 1e6, count)
        lap, place = divmod(after, len(self._counts))
        ending = lap * len(self._counts) + self._ending[place]
        if ending < len(self._written):
            self.after_end.add((read_s - self._written[ending]) * 1e6)


class Process:
    """The command that is measured."""

    def __init__(self, fifo: Path, settings: argparse.Namespace) -> None:
        words = ["--dt", f"{settings.dt:g}", "--every", f"{settings.dt:g}", "--time-origin", "zero"]
        words += ["--binary"] if settings.form == "binary" else []
        command = [sys.executable, "-m", "snnlab", "stream", str(settings.run), str(fifo), *words]
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=1 << 20)

    def cpu_s(self) -> float:
        """Return the CPU time so far, s."""
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    def resident_mb(self) -> float:
        """Return the resident memory, MB."""
        text = Path(f"/proc/{self.popen.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        return int(found[1]) / 1e3 if found else 0.0


def measure(settings: argparse.Namespace) -> dict[str, Any]:
    """Run the command and the writer; return the figures."""
    loop = looped(settings.recordings, settings.time_us, settings.chunk_us)
    number = round(settings.minutes * 60e6 / settings.chunk_us)
    written = RawArray("d", number)
    samples = Samples(loop, written, settings)
    with tempfile.TemporaryDirectory() as folder:
        fifo = Path(folder) / "events"
        os.mkfifo(fifo)
        process = Process(fifo, settings)
        writer = get_context("fork").Process(target=write, args=(fifo, loop, written, settings))
        writer.start()
        assert process.popen.stdout is not None
        assert process.popen.stderr is not None
        began_s, last_cpu_s, lines = 0.0, 0.0, 0
        memory: list[float] = []
        steps = number * settings.chunk_us / 1e3 / settings.dt
        for line in process.popen.stdout:
            read_s = time.perf_counter()
            step = round(float(line[9 : line.index(b",")]) / settings.dt) - 1  # {"t_ms": 1.0, ...
            lines += 1
            if lines == 1:
                began_s = process.cpu_s()
            elif step + 1 < steps:  # the last line comes from the end of the input
                samples.add(step, read_s)
            if lines % 10_000 == 1000 and step + 2 < steps:
                last_cpu_s = process.cpu_s()
                memory.append(process.resident_mb())
        said = process.popen.stderr.read().decode()
        writer.join()
        if process.popen.wait():
            sys.exit(said)
    laps, rest = divmod(number, loop.stops.size)
    sent = laps * loop.events.size + (int(loop.stops[rest - 1]) if rest else 0)
    taken = re.search(r"([\d,]+) events; dropped", said)
    return {
        "minutes": settings.minutes,
        "form": settings.form,
        "events": sent,
        "lost": sent - int(taken[1].replace(",", "")) if taken else sent,
        "lines": lines,
        "cpu_s": round(last_cpu_s - began_s, 2),
        "resident_mb": [round(mb, 1) for mb in memory],
        "after_end": percentiles(samples.after_end),
        "event_to_line": percentiles(samples.event_to_line),
        "command_says": said.splitlines()[-1],
    }


def percentiles(histogram: LatencyHistogram) -> dict[str, float]:
    """Return the median, the tail and the maximum of latencies, us, and the share that are at most 1 ms."""
    found = {f"p{percent:g}": round(histogram.percentile(percent), 1) for percent in (50, 99, 99.9)}
    within = float(histogram.counts[: bin_of(1000.0) + 1].sum()) / max(1, histogram.count)
    return {**found, "max": round(histogram.max_us, 1), "within_1_ms": round(within, 5), "samples": histogram.count}


def table(found: dict[str, Any]) -> str:
    """Return the figures as text."""
    hour = 60 / found["minutes"]
    lines = [f"{'us':16}{'p50':>10}{'p99':>10}{'p99.9':>10}{'max':>10}{'within 1 ms':>13}{'samples':>14}"]
    for name in ("after_end", "event_to_line"):
        row = found[name]
        numbers = "".join(f"{row[key]:>10,.0f}" for key in ("p50", "p99", "p99.9", "max"))
        lines.append(f"{name.replace('_', ' '):16}{numbers}{row['within_1_ms']:>13.3%}{row['samples']:>14,}")
    cpu = f"{found['cpu_s']:.1f} s of CPU in {found['minutes']:g} minutes, {found['cpu_s'] * hour:.0f} s an hour"
    resident = found["resident_mb"]
    memory = f"{resident[0]:.1f} MB at the start, {resident[-1]:.1f} MB at the end, {max(resident):.1f} MB at most"
    lines.append(f"{found['events']:,} events, {found['lost']:,} lost, {found['lines']:,} lines; {cpu}; {memory}")
    return "\n".join(lines)


def main() -> None:
    settings = parser().parse_args()
    found = measure(settings)
    settings.out.mkdir(parents=True, exist_ok=True)
    (settings.out / "bench_live.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
