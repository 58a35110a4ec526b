"""The folder of a network in C: its text, a program that replays a recording, a Makefile, Python without snnlab."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snnlab.errors import ConfigError
from snnlab.interop.c99.c_network import CNetwork
from snnlab.nn.dense_loops import DenseLoops
from snnlab.nn.network_form import NetworkForm

EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "<u2")])
FLAGS = ("-std=c99", "-O2", "-ffp-contract=off")
_TEMPLATES = Path(__file__).with_name("templates")


class Recorded(NamedTuple):
    """A recording in steps.

    Attributes:
        name: What it is called.
        steps: The events of each step, `EVENT`.
        frames: The same events as frames, `[T, C, H, W]`.
        step_ms: Length of a step, ms.
    """

    name: str
    steps: Sequence[np.ndarray]
    frames: np.ndarray
    step_ms: float


class CCertificate(NamedTuple):
    """A comparison of compiled C with the plain dense loops of the network's form, bit for bit.

    Attributes:
        values, differ: Numbers of outputs and of states after every step, and of those with other bits.
        first: The first step and value that differ.
    """

    recordings: int
    steps: int
    events: int
    values: int
    differ: int
    first: tuple[int, str] | None


def identifier(text: str) -> str:
    """Return a text as a name in C."""
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lstrip("0123456789_").lower() or "network"
    return "main_network" if name == "main" else name  # main.c is the program beside it


def files_of(network: CNetwork, form: NetworkForm, recording: Recorded) -> dict[str, bytes]:
    """Return the files of the folder, without its page; answers are for as many steps as the recording has."""
    places, at = {}, 0
    for array in network.arrays:
        places[array.name], at = at, at + array.size
    shapes = {name: one.shape for name, one in form.neurons.items()}
    states = {f"{name}.{key}": (places[array], shapes[name]) for (name, key), array in network.states.items()}
    channels, height, width = form.out_shape
    us = (Fraction(str(recording.step_ms)) * 1000).limit_denominator(10**6)
    facts = {
        "name": network.name,
        "NAME": network.name.upper(),
        "most_events": max(1, *(step.size for step in recording.steps)),
        "step_us": (us.numerator, us.denominator),
        "window": len(recording.steps),
        "output_shape": (channels,) if height * width == 1 else (channels, height, width),
        "states": states,
        "state_size": at,
    }
    texts = {path.name.removesuffix(".txt"): path.read_text() for path in sorted(_TEMPLATES.iterdir())}
    found = {name: re.sub("@(\\w+)@", lambda match: str(facts[match[1]]), text) for name, text in texts.items()}
    found |= {f"{network.name}.h": network.header, f"{network.name}.c": network.source}
    return {name: text.encode() for name, text in found.items()} | {"recording.bin": _recording_bytes(form, recording)}


def _recording_bytes(form: NetworkForm, recording: Recorded) -> bytes:
    """Return a recording with the outputs of the plain dense loops, as main.c reads it."""
    dense, parts = DenseLoops(form), [np.uint32(len(recording.steps)).tobytes()]
    for events, frame in zip(recording.steps, recording.frames, strict=True):
        y = np.ascontiguousarray(dense.step(frame), "<f4")
        parts += [np.uint32(events.size).tobytes(), events.tobytes(), y.tobytes()]
    return b"".join(parts)


def compiler() -> str | None:
    """Return the C compiler of this machine."""
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


def certify_c(network: CNetwork, form: NetworkForm, recordings: Sequence[Recorded], cc: str) -> CCertificate:
    """Compile a network, and compare outputs and all states with the plain dense loops after every step.

    Args:
        network: The network in C.
        form: Its form.
        recordings: What it runs on.
        cc: The compiler.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files_of(network, form, recordings[0]).items():
            (Path(folder) / name).write_bytes(content)
        library = Path(folder) / "network.so"
        _compile([cc, *FLAGS, "-shared", "-fPIC", f"{network.name}.c", "-o", str(library), "-lm"], folder)
        compiled = runpy.run_path(str(Path(folder) / "network.py"))["Network"](library)
        values = differ = steps = events = 0
        first = None
        for recording in recordings:
            compiled.reset()
            for number, (same, step) in enumerate(_compared(compiled, form, recording)):
                steps, events = steps + 1, events + step.size
                for name, (equal, size) in same.items():
                    values, differ = values + size, differ + size - equal
                    if equal < size and first is None:
                        first = number, name
        return CCertificate(len(recordings), steps, events, values, differ, first)


def _compile(command: list[str], folder: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        problem = next((line for line in done.stderr.splitlines() if "error" in line), "").strip()
        raise ConfigError(
            "--c", f"{command[0]} refuses what snnlab wrote: {problem}", "report it, with the run's config.yaml"
        )


def sizes(
    network: CNetwork, files: dict[str, bytes], cc: str, flags: Sequence[str] = ()
) -> tuple[int, int | None] | None:
    """Return the bytes of code, and of the stack where the compiler says it; None where `size` is not installed."""
    if (size := shutil.which("size")) is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        for name in (f"{network.name}.h", f"{network.name}.c"):
            (Path(folder) / name).write_bytes(files[name])
        is_gcc = (
            b"Free Software Foundation" in subprocess.run([cc, "--version"], capture_output=True, check=True).stdout
        )
        _compile(
            [cc, *FLAGS, *flags, "-c", *["-fstack-usage"] * is_gcc, f"{network.name}.c", "-o", "network.o"], folder
        )
        listed = subprocess.run(
            [size, "-A", "network.o"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout
        code = sum(
            int(words[1]) for line in listed.splitlines() if (words := line.split()) and words[0].startswith(".text")
        )
        if not is_gcc:
            return code, None
        used = [int(line.split("\t")[1]) for line in (Path(folder) / "network.su").read_text().splitlines()]
        return code, sum(sorted(used)[-2:])  # a step, and the function that it calls


def _compared(
    compiled: Any, form: NetworkForm, recording: Recorded
) -> Iterator[tuple[dict[str, tuple[int, int]], np.ndarray]]:
    """Yield for each step how many numbers of each value have equal bits, and how many there are."""
    dense = DenseLoops(form)
    for events, frame in zip(recording.steps, recording.frames, strict=True):
        y, expected = compiled.step(events), dense.step(frame)
        found = {"the output": _equal_bits(y.reshape(-1), expected.reshape(-1))}
        states = compiled.states()
        for name, own in dense.states.items():
            found |= {f"{name}.{key}": _equal_bits(states[f"{name}.{key}"], values) for key, values in own.items()}
        yield found, events


def _equal_bits(one: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    one, other = (np.ascontiguousarray(values, np.float32).view(np.int32) for values in (one, other))
    return int(np.count_nonzero(one == other)), one.size


def write_folder(target: Path, files: dict[str, bytes], *, force: bool) -> None:
    """Write a folder at once: it is there as a whole, or not at all."""
    if target.exists():
        if not target.is_dir():
            raise ConfigError("--c", f"{target} is no folder", "choose another one")
        earlier = [path for path in target.glob("*.[ch]") if b"written by snnlab" in path.read_bytes()[:1000]]
        built = {"replay", "__pycache__", *(f"lib{path.stem}.so" for path in target.glob("*.h"))}
        own = {*files, *built, *(path.name for path in earlier)}
        if others := sorted({path.name for path in target.iterdir()} - own):
            raise ConfigError("--c", f"{target} has files that no export wrote: {others[0]}", "choose another folder")
        if not force:
            raise ConfigError("--c", f"{target} exists", "choose another folder, or add --force")
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.absolute().parent) as place:
            new = Path(place) / "new"
            new.mkdir()
            for name, content in files.items():
                (new / name).write_bytes(content)
            if target.exists():
                target.rename(Path(place) / "old")
            new.rename(target)
    except OSError as error:
        raise ConfigError("--c", f"{target} cannot be written ({error.strerror})", "choose another folder") from None
