"""The update of a layer's neurons, rendered from their form: vectors of neurons, with the operations of their step.

A text belongs to a form and to what its layer has: it is compiled once, and cached on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numba import types

from snnlab.compiled import loops_checksum
from snnlab.kernels.emit import Lines, block
from snnlab.kernels.neuron_form import NeuronForm
from snnlab.kernels.quiet_neurons import expressions
from snnlab.kernels.runtime import CompiledLoop
from snnlab.kernels.trace import Node, StepGraph, is_literal, number_name
from snnlab.streaming.buffers import MAX_POOL, NO_POOL, SUM_POOL
from snnlab.streaming.stream_layers import StreamLayer
from snnlab.streaming.update_loops import FIELDS_OF_NEXT, OWN_FIELDS, Engine

_SIGNATURE = (types.int64, types.int64)
_VECTORS = {
    **{"add": "add({0}, {1})", "sub": "subtract({0}, {1})", "mul": "multiply({0}, {1})", "div": "divide({0}, {1})"},
    **{"neg": "negate({0})", "abs": "absolute({0})", "exp": "exponentials(t, values, {0})", "fill": "{0}"},
    **{"sqrt": "square_root({0})", "trunc": "truncate({0})", "floor": "round_down({0})"},
    **{"ge": "at_least({0}, {1})", "gt": "above({0}, {1})", "le": "at_most({0}, {1})", "lt": "below({0}, {1})"},
    **{"eq": "equals({0}, {1})", "ne": "differs({0}, {1})", "where": "select({0}, {1}, {2})"},
    **{"and": "{0} & {1}", "or": "{0} | {1}", "not": "{0} ^ SPIKED"},
}
_IMPORTS = (
    "from snnlab.compiled import places_at",
    "from snnlab.kernels.vectors import LANES, above, absolute, add, at_least, at_most, below, differs, divide",
    "from snnlab.kernels.vectors import equals, load, multiply, negate, round_down, select, splat, square_root, store",
    "from snnlab.kernels.vectors import subtract, truncate",
    "from snnlab.streaming.update_loops import SPIKED, STILL, Rules, engine_at, exponentials, inner, leak, send",
    "from snnlab.streaming.update_loops import send_spikes, update_marked, update_rows, used_lanes",
)


def update_address(layer: StreamLayer, lanes: int) -> int:
    """Return the address of the compiled update of a layer: `update(address of the engine's places, layer)`.

    Args:
        layer: The layer.
        lanes: Numbers of a vector.
    """
    return _compiled(render_update(layer, lanes), "update" if layer.form is None else layer.form.title)


@cache
def _compiled(text: str, title: str) -> int:
    """Return the address of a compiled update; the cache keeps the function."""
    loop = CompiledLoop(f"{text}\n# {loops_checksum(Path(__file__).parent)}\n", f"{title}_stream", "update", ())
    return loop.compile_to_address(_SIGNATURE)


def render_update(layer: StreamLayer, lanes: int) -> str:
    """Return the source of a module with the update of a layer."""
    fire, numbers = _Fire(layer, lanes), list(layer.form.numbers.items()) if layer.form else []
    places = _number_places(numbers, lanes)
    uniform = [f"load(e.weights, t.numbers + {places[name]}, LANES)" for name, value in numbers if value.size == 1]
    leaks = Lines()
    if layer.is_driven and layer.form is not None and layer.quiet is not None:
        for number, factor in enumerate(layer.quiet.factors.values()):
            if factor is not None:
                place = places[number_name(factor)]
                step, size = _reach(layer.form.numbers[number_name(factor)])
                first = f"t.membrane + {number} * t.neurons"
                leaks.append(f"leak(e.values, {first}, t.neurons, e.weights, t.numbers + {place}, {step}, {size})")
    update = "update_marked" if layer.is_driven else "update_rows"
    fields = [*(_constant(layer, name) or f"t.{name}" for name in OWN_FIELDS), *(f"to.{n}" for n in FIELDS_OF_NEXT)]
    body = [
        f"e = engine_at(places_at(address, {len(Engine._fields)}))",
        "t, count = e.layers[k], e.counts[k]",
        "to = e.layers[t.to]",
        f"n = ({''.join(f'{one}, ' for one in uniform)})" if uniform else "n = (0,)",
        f"rules = Rules({', '.join(fields)})",
        *leaks,
    ]
    channels = "t.channel_spikes if e.channel_spikes.size != 0 else -1" if layer.spikes else "-1"
    body += [f"channels = {channels}", f"{update}(fire, rules, n, e, k, count, channels)"]
    lines = [
        f'"""{layer.form.title if layer.form else "A layer without neurons"}, rendered by snnlab; not to be edited."""',
        "import numpy as np",
        *_IMPORTS,
        *("", "", "@inner"),
        *block("def fire(t, n, count, values, weights, at, block, x, to):", fire.lines()),
        *("", ""),
        *block("def update(address, k):", body),
    ]
    return "\n".join(lines) + "\n"


def _constant(layer: StreamLayer, name: str) -> str | None:
    """Return a field of a layer that its text has as a constant."""
    plain = layer.current_pool == (1, 1)
    windows = {"window_y", "window_x", "pool_stride_y", "pool_stride_x", "pool_pad_y", "pool_pad_x"}
    found = {
        "current_pool_y": 1 if plain else None,
        "current_pool_x": 1 if plain else None,
        "pool": MAX_POOL if layer.pool == "max" else SUM_POOL,
        "overlaps": int(layer.windows_overlap),
        "is_dense": int(not layer.is_driven),
        "has_bias": int(layer.bias is not None),
        "feeds_itself": int(layer.feeds_itself),
        **dict.fromkeys([] if layer.windows_overlap else windows, NO_POOL),
    }
    value = found.get(name)
    return None if value is None else str(value)


def _reach(number: np.ndarray) -> tuple[str, str]:
    """Return how far the next vector of a number is, and after how many neurons it begins again."""
    if number.size == 1:
        return "0", "t.neurons"
    return "LANES", "t.channels" if number.shape[1:] == (1, 1) else "t.neurons"


def _number_places(numbers: Sequence[tuple[str, np.ndarray]], lanes: int) -> dict[str, str]:
    """Return where each number is, counted from the first one."""
    found, sizes = {}, [0, 0, 0]
    for name, value in numbers:
        found[name] = f"({sizes[0] * lanes} + {sizes[1]} * t.channels + {sizes[2]} * t.neurons)"
        sizes[0 if value.size == 1 else 1 if value.shape[1:] == (1, 1) else 2] += 1
    return found


class _Fire:
    """Writes the lines of `fire`, which updates a vector of neurons and sends its output.

    It returns the lanes with an output and those still at their threshold. There is no branch on whether a neuron
    spikes, which could not be predicted: a 0 is sent too, and changes nothing.
    """

    def __init__(self, layer: StreamLayer, lanes: int) -> None:
        self.layer, self.lanes = layer, lanes
        self.names: dict[Node, str] = {}
        self.text = Lines()

    def lines(self) -> Lines:
        """Return the lines."""
        form = self.layer.form
        if form is None:
            if self.layer.relays:
                return ["send(t, values, to, x)", "return differs(x, splat(np.float32(0), LANES))"]
            return ["store(x, values, to)", "return SPIKED"]
        self._prepare(form)
        step = form.step
        y = self._name(step.y)
        after = [self._name(node) for node in step.after.values()]
        self.text += [f"store({name}, values, {self._place(n)})" for n, name in enumerate(after)]
        if not form.spiking:
            return [*self.text, f"store({y}, values, to)", "return SPIKED"]
        return [*self.text, *self._sent(step, y), *self._still(dict(zip(step.after, after, strict=True)))]

    def _place(self, state: int) -> str:
        return f"at + {state} * t.neurons" if state else "at"

    def _prepare(self, form: NeuronForm) -> None:
        step, layer = form.step, self.layer
        self.names[step.x] = "x"
        for number, (name, node) in enumerate(step.before.items()):
            self.text.append(f"s_{name} = load(values, {self._place(number)}, LANES)")
            self.names[node] = f"s_{name}"
        places, uniform = _number_places(list(form.numbers.items()), self.lanes), 0
        for name, node in step.numbers.items():
            value = form.numbers[name]
            if value.size == 1:
                self.text.append(f"{name} = n[{uniform}]")
                uniform += 1
            else:
                own = "block" if value.shape[1:] == (1, 1) else "at - t.membrane"
                self.text.append(f"{name} = load(weights, t.numbers + {places[name]} + {own}, LANES)")
            self.names[node] = name
        if layer.is_driven and layer.quiet is not None:
            self._take_leaked(step, layer.quiet.factors)

    def _take_leaked(self, step: StepGraph, factors: dict[str, Node | None]) -> None:
        """Name the product of a state and its factor as the state: it has been multiplied before the step."""
        products = {(factor, step.before[name]) for name, factor in factors.items() if factor is not None}
        for node in expressions(step):
            if node.op == "mul" and (tuple(node.args) in products or tuple(node.args[::-1]) in products):
                state = next(arg for arg in node.args if arg.op == "state")
                self.names[node] = self.names[state]

    def _name(self, node: Node) -> str:
        """Write the line of an expression, once, and return its name."""
        if node not in self.names:
            self.names[node] = self._written(node)
        return self.names[node]

    def _written(self, node: Node) -> str:
        if is_literal(node):
            self.text.append(f"c{node.at} = splat(np.float32({node.name}), LANES)")
            return f"c{node.at}"
        ones = [arg for arg in node.args if is_literal(arg) and arg.name == 1.0]
        if node.op == "mul" and ones:  # x * 1 and x / 1 are x
            return self._name(next((arg for arg in node.args if arg not in ones), ones[0]))
        if node.op == "div" and node.args[1] in ones:
            return self._name(node.args[0])
        args = node.args
        if node.op in ("ge", "gt") and args[0].op == "sub" and is_literal(args[1]) and args[1].name == 0.0:
            args = args[0].args  # a - b >= 0 is a >= b, since differences of numbers close to another are not rounded
        self.text.append(f"t{node.at} = {_VECTORS[node.op].format(*map(self._name, args))}")
        return f"t{node.at}"

    def _sent(self, step: StepGraph, y: str) -> Lines:
        """Return the lines that send and count spikes."""
        if step.binary and step.y.op == "where" and [arg.name for arg in step.y.args[1:]] == [1.0, 0.0]:
            found = [f"spiked = {self.names[step.y.args[0]]}", f"number = {y}"]
        else:
            found = [f"number = {y}", "spiked = differs(number, splat(np.float32(0), LANES))"]
        if self.layer.quiet is None and self.layer.shape[0] % self.lanes:
            # What fills up the vectors may spike by itself.
            found += ["spiked &= used_lanes(t, block)", "number = select(spiked, number, splat(np.float32(0), LANES))"]
        return [*found, f"send_spikes(t, count, values, at, to, spiked, number, {not step.binary})"]

    def _still(self, after: dict[str, str]) -> Lines:
        """Return the lines that find neurons that may spike in the next step without input."""
        if not self.layer.is_driven or self.layer.quiet is None:
            return ["return spiked"]
        pairs = dict.fromkeys(self.layer.quiet.thresholds)
        found = []
        for name, node in pairs:
            threshold = "splat(np.float32(1), LANES)" if is_literal(node) else self.names[node]
            found.append(f"at_least({after[name]}, {threshold})")
        return [f"still = {' | '.join(found)}" if found else "still = np.uint64(0)", "return spiked | still << STILL"]
