"""Runs the readers of NIR files that are installed on files of ours, and prints how their spikes differ.

    python scripts/nir_readers.py                                     the readers of this environment
    python scripts/nir_readers.py --with sinabs=ENV1/bin/python --with spyx=ENV2/bin/python   others of their own

Readers pin different versions of `nir`, so that each may need an environment of its own: the library and `nir`, and no
snnlab. Files are written by the version of `nir` of this environment. Each reader gets the same input; a row
has the output spikes of snnlab, those of the reader, and the number of bins in which they differ.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

NUM_STEPS, SEED = 200, 0
_LIBRARIES = {
    "norse": ("norse", "nir", "nirtorch"),
    "snntorch": ("snntorch", "nir", "nirtorch"),
    "spikingjelly": ("spikingjelly", "nir", "nirtorch"),
    "sinabs": ("sinabs", "nir", "nirtorch"),
    "spyx": ("spyx", "nir", "jax"),
}
READERS = tuple(_LIBRARIES)
# Why a reader's spikes differ, from its source.
_WHY = {
    "norse": "r of a LIF is not used",
    "snntorch": "steps of 0.1 ms, fixed; an IF becomes a Leaky with beta 0.9, which returns a tuple",
    "spikingjelly": "it needs r = 1 or tau / dt, 1 / dt for an IF, and equal constants of all neurons of a node",
    "sinabs": "tau in steps, factor exp(-1 / tau), r not used, reset by subtraction, several spikes a step, an IF's"
    " membranes at least -v_threshold, no recurrence, no CubaLIF; its nir 1.0.4 reads no v_reset",
    "spyx": "a spike comes one step after the threshold, reset by subtraction then; r and w_in are not used; a flatten"
    " takes the channels last",
}


class ReaderCase(NamedTuple):
    """A network that is written and read.

    Attributes:
        about: What it is.
        dt: Length of a step, ms; None for steps without length.
        in_shape: Shape of the input.
        layers: Its layers, as in a YAML.
    """

    about: str
    dt: float | None
    in_shape: tuple[int, ...]
    layers: Mapping[str, Any]


_SAID = {"reset": "value", "threshold": "strict"}
_EULER = {**_SAID, "decay": "euler", "input_gain": "1-a", "v_threshold": 0.31}


def _dense(neuron: Mapping[str, Any]) -> dict[str, Any]:
    fc = {"type": "linear", "out_features": 20}
    return {"fc1": fc, "n1": dict(neuron), "fc2": fc, "n2": dict(neuron)}


_LIF = {"type": "lif", "tau_mem": 10.0, **_EULER}
_GAIN = {"type": "lif", "tau_mem": 10.0, **_SAID}
_STEPS = {"type": "lif", "tau_mem": "10 steps", **_SAID, "input_gain": 1.0}
_CUBA = {"type": "cuba_lif", "tau_mem": 10.0, "tau_syn": 5.0, **_SAID, "decay": "euler", "input_gain": 1.0}
_IAF = {"type": "iaf", **_SAID}
_CONV = {
    "conv": {"type": "conv2d", "out_channels": 4, "kernel_size": 3, "padding": 1},
    "n1": _IAF,
    "pool": {"type": "sum_pool", "kernel_size": 2},
    "flatten": {"type": "flatten"},
    "fc": {"type": "linear", "out_features": 10},
    "n2": _IAF,
}
CASES: dict[str, ReaderCase] = {
    "lif": ReaderCase("LIF, r = 1", 1.0, (16,), _dense(_LIF)),
    "lif 0.1 ms": ReaderCase("LIF, r = 1, steps of 0.1 ms", 0.1, (16,), _dense({**_LIF, "tau_mem": 1.0})),
    "lif gain 1": ReaderCase("LIF, r = tau / dt", 1.0, (16,), _dense(_GAIN)),
    "lif gain 1 0.1 ms": ReaderCase(
        "LIF, r = tau / dt, steps of 0.1 ms", 0.1, (16,), _dense({**_GAIN, "tau_mem": 1.0})
    ),
    "lif steps": ReaderCase("LIF, r = tau, tau in steps", None, (16,), _dense(_STEPS)),
    "iaf": ReaderCase("IF, r = 1 / dt", 1.0, (16,), _dense(_IAF)),
    "iaf steps": ReaderCase("IF, r = 1, no dt", None, (16,), _dense(_IAF)),
    "cuba": ReaderCase("CubaLIF, r = tau_mem / dt, w_in = tau_syn / dt", 1.0, (16,), _dense(_CUBA)),
    "cuba 0.1 ms": ReaderCase(
        "the same, steps of 0.1 ms", 0.1, (16,), _dense({**_CUBA, "tau_mem": 1.0, "tau_syn": 0.5})
    ),
    "recurrent": ReaderCase(
        "LIF, recurrent",
        0.1,
        (16,),
        {"fc": {"type": "linear", "out_features": 20}, "n": {**_GAIN, "tau_mem": 1.0, "recurrent": True}},
    ),
    "conv": ReaderCase("conv, IF, sum pooling, linear, IF; no dt", None, (2, 8, 8), _CONV),
    "conv 1 ms": ReaderCase("the same at 1 ms", 1.0, (2, 8, 8), _CONV),
}


# What the readers do, each in an environment without snnlab: spikes [T, N] of a graph for an input [T, ...].


def _by_step(step: Callable[[Any, Any], tuple[Any, Any]], x: np.ndarray) -> np.ndarray:
    import torch

    state, found = None, []
    with torch.no_grad():
        for x_t in torch.from_numpy(x):
            y, state = step(x_t[None], state)
            found.append(y.flatten())
    return torch.stack(found).numpy()


def _norse(path: str, x: np.ndarray, dt: float) -> np.ndarray:
    import nir
    from norse.torch.utils.import_nir import from_nir

    module = from_nir(nir.read(path), dt=dt)
    return _by_step(module, x)


def _snntorch(path: str, x: np.ndarray, dt: float) -> np.ndarray:
    import nir
    from snntorch.import_nir import import_from_nir

    module = import_from_nir(nir.read(path))  # dt is 1e-4, fixed in its source

    def step(x_t: Any, state: Any) -> tuple[Any, Any]:
        found = module(x_t, state)
        return found if isinstance(found, tuple) else (found, None)

    return _by_step(step, x)


def _spikingjelly(path: str, x: np.ndarray, dt: float) -> np.ndarray:
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    return _by_step(import_from_nir(path, dt=dt), x)


def _sinabs(path: str, x: np.ndarray, dt: float) -> np.ndarray:
    import nir
    import torch
    from sinabs.nir import from_nir

    module = from_nir(nir.read(path), batch_size=1)  # has no dt: time constants are in steps
    with torch.no_grad():
        found = module(torch.from_numpy(x))
    return (found[0] if isinstance(found, tuple) else found).reshape(len(x), -1).numpy()


def _spyx(path: str, x: np.ndarray, dt: float) -> np.ndarray:
    import nir
    from spyx.nir import from_nir  # pyright: ignore[reportMissingImports]

    x = x[:, None]
    if x.ndim == 5:  # channels last
        x = x.transpose(0, 1, 3, 4, 2)
    _, found = from_nir(nir.read(path), x, dt=dt)
    return np.asarray(found).reshape(len(x), -1)


_READ: Mapping[str, Callable[[str, np.ndarray, float], np.ndarray]] = {
    "norse": _norse,
    "snntorch": _snntorch,
    "spikingjelly": _spikingjelly,
    "sinabs": _sinabs,
    "spyx": _spyx,
}


def read(reader: str, folder: Path) -> None:
    """Run a reader on all files of a folder, and write its spikes, or its error, beside them."""
    versions = {name: metadata.version(name) for name in _LIBRARIES[reader]}
    found: dict[str, Any] = {"versions": versions, "errors": {}}
    for path in sorted(folder.glob("*.nir")):
        given = np.load(path.with_suffix(".npz"))
        try:
            spikes = _READ[reader](str(path), given["x"], float(given["dt"]))
        except Exception as error:  # any: it is what the table shows
            lines = [line for line in str(error).splitlines() if line.strip()]
            found["errors"][path.stem] = f"{type(error).__name__}: {lines[0] if lines else ''}"
        else:
            np.save(folder / f"{path.stem}.{reader}.npy", spikes)
    (folder / f"{reader}.json").write_text(json.dumps(found), encoding="utf-8")


class Written(NamedTuple):
    """A case that was written: its network, its graph, the input `[T, ...]` and the spikes of snnlab `[T, N]`."""

    network: Any
    graph: Any
    x: Any
    spikes: np.ndarray


def write(folder: Path) -> dict[str, Written]:
    """Write the file and the input of each case."""
    import torch

    from snnlab.interop.nir_files import write_graph
    from snnlab.nn import build_network

    found = {}
    for number, (name, case) in enumerate(CASES.items()):
        torch.manual_seed(SEED + number)
        network = build_network(case.layers, in_shape=case.in_shape, dt=case.dt).network.eval()
        x = (torch.rand(NUM_STEPS, *case.in_shape) < 0.3).float()
        with torch.no_grad():
            for key, value in network.named_parameters():
                value.mul_(3.0 if key.startswith("fc") else 1.5)
        graph = network.to_nir()
        write_graph(folder / f"{name}.nir", graph)
        np.savez(folder / f"{name}.npz", x=x.numpy(), dt=_unit_step(case))
        found[name] = Written(network, graph, x, _spikes(network, x))
    return found


def _unit_step(case: ReaderCase) -> float:
    """Return the length of a step in the file's unit of time: s, or a step."""
    return 1.0 if case.dt is None else case.dt / 1000.0


def _spikes(network: Any, x: Any) -> np.ndarray:
    import torch

    with torch.no_grad():
        return network(x[:, None])[0].flatten(1).numpy()


_IMMEDIATE = {"reset": "value", "threshold": "strict"}
_DELAYED_RESET = {"reset": "subtract", "reset_delay": True, "threshold": "strict"}
_ONE_STEP = {"type": "delay", "delay": "1 step"}


def as_read(reader: str, kind: str, node: Any, dt: float) -> list[dict[str, Any]] | None:
    """Return the layers that compute what a reader makes of a neuron node; None where there are none.

    Args:
        reader: The reader.
        kind: `LIF`, `CubaLIF` or `IF`.
        node: The node, all of its neurons equal.
        dt: Length of a step in its unit of time.
    """
    level = float(node.v_threshold.flat[0])
    if kind == "IF":
        iaf = {"type": "iaf", "v_threshold": level}
        if reader == "sinabs":
            return [{**iaf, "spikes": "several", "floor": -level}]
        return [{**iaf, **_DELAYED_RESET}, _ONE_STEP] if reader == "spyx" else None
    if kind == "CubaLIF":
        a, b = (1 - dt / float(tau.flat[0]) for tau in (node.tau_mem, node.tau_syn))
        cuba = {"type": "cuba_lif", "v_threshold": level, "beta": a, "alpha": b, "input_gain": 1.0}
        return [{**cuba, "reset": "subtract", "threshold": "strict"}, _ONE_STEP] if reader == "spyx" else None
    tau, r, lif = float(node.tau.flat[0]), float(node.r.flat[0]), {"type": "lif", "v_threshold": level}
    if reader == "norse":
        return [{**lif, "beta": 1 - dt / tau, "input_gain": dt / tau, **_IMMEDIATE}]
    if reader == "snntorch":
        return [{**lif, "beta": 1 - 1e-4 / tau, "input_gain": r * 1e-4 / tau, **_IMMEDIATE}]
    if reader == "sinabs":
        return [{**lif, "tau_mem": f"{tau} steps", "input_gain": 1.0, "spikes": "several"}]
    return [{**lif, "beta": 1 - dt / tau, "input_gain": 1.0, **_DELAYED_RESET}, _ONE_STEP] if reader == "spyx" else None


def explained(reader: str, case: ReaderCase, written: Written, theirs: np.ndarray) -> bool:
    """Return whether snnlab gives the reader's spikes if its neurons follow the reader's rule."""
    from snnlab.nn import build_network

    layers: dict[str, Any] = {}
    for name, layer in case.layers.items():
        recurrent = bool(layer.get("recurrent"))
        node = written.graph.nodes[f"{name}.lif" if recurrent else name]
        if not hasattr(node, "v_threshold"):
            layers[name] = layer
            continue
        own = as_read(reader, type(node).__name__, node, _unit_step(case))
        if own is None:
            return False
        # Sinabs runs a layer over all steps at once, so that nothing returns to it.
        layers[name] = {**own[0], **({"recurrent": True} if recurrent and reader != "sinabs" else {})}
        layers |= {f"{name}_after{number}": after for number, after in enumerate(own[1:])}
    network = build_network(layers, in_shape=case.in_shape, dt=None).network.eval()
    network.load_state_dict(written.network.state_dict(), strict=False)
    if reader == "spyx" and "flatten" in layers:
        channels, height, width = map(int, written.graph.nodes["flatten"].input_type["input"])
        weight = network.get_submodule("fc").get_parameter("weight")
        last = weight.data.reshape(-1, height, width, channels)
        weight.data = last.permute(0, 3, 1, 2).reshape(weight.shape)
    return np.array_equal(_spikes(network, written.x), theirs)


def verdict(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Return how a reader's spikes differ from ours."""
    if theirs.shape != ours.shape:
        return f"shape {list(theirs.shape[1:])} for {list(ours.shape[1:])}"
    differ = int((ours != theirs).sum())
    if not differ:
        return "equal"
    if not (ours[:-1] != theirs[1:]).any():
        return "equal, one step later"
    return f"{int(theirs.sum()):,}, {differ:,} differ"


def main() -> None:
    """Parse the command line; write, read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with", dest="others", action="append", default=[], metavar="READER=PYTHON")
    parser.add_argument("--read", nargs=2, metavar=("READER", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read(options.read[0], Path(options.read[1]))
        return
    pythons = dict.fromkeys(READERS, sys.executable) | dict(text.split("=", 1) for text in options.others)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        ours = write(folder)
        found: dict[str, Any] = {}
        for reader, python in pythons.items():
            done = subprocess.run([python, "-P", __file__, "--read", reader, made], capture_output=True, text=True)
            if done.returncode:
                print(f"{reader}: not read ({done.stderr.strip().splitlines()[-1]})\n")
            else:
                found[reader] = json.loads((folder / f"{reader}.json").read_text(encoding="utf-8"))
        print(f"Files written with nir {metadata.version('nir')}, {NUM_STEPS} steps.\n")
        print("\n".join(table(found, ours, folder)))


def table(found: Mapping[str, Any], ours: Mapping[str, Written], folder: Path) -> list[str]:
    """Return the table of all readers in Markdown, the errors in it, and why spikes differ."""
    errors: list[str] = []
    rows = [f"| | spikes | {' | '.join(found)} |", f"|---|---:|{'---|' * len(found)}"]
    for name, case in CASES.items():
        cells = [_cell(reader, name, of, ours[name], folder, errors) for reader, of in found.items()]
        rows.append(f"| {case.about} | {int(ours[name].spikes.sum()):,} | {' | '.join(cells)} |")
    rows += ["", "\\* snnlab gives the reader's spikes, all of them, by the reader's rule below.", ""]
    rows += [*(f"{number}. {error}" for number, error in enumerate(errors, 1)), ""]
    for reader, of in found.items():
        versions = ", ".join(f"{name} {version}" for name, version in of["versions"].items())
        rows.append(f"- {versions}: {_WHY[reader]}")
    return rows


def _cell(reader: str, name: str, of: Mapping[str, Any], ours: Written, folder: Path, errors: list[str]) -> str:
    path = folder / f"{name}.{reader}.npy"
    if path.exists():
        theirs = np.load(path)
        text = verdict(ours.spikes, theirs)
        return text if text == "equal" or not explained(reader, CASES[name], ours, theirs) else f"{text} \\*"
    error = of["errors"][name]
    if error not in errors:
        errors.append(error)
    return f"fails ({errors.index(error) + 1})"


if __name__ == "__main__":
    main()
