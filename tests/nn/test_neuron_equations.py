"""Equations rendered from steps: their text, computed by Python alone, equals the step in double precision."""

from __future__ import annotations

import inspect
import math
import random
import re
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from snnlab.nn import NEURONS, Neuron
from snnlab.nn.integer_targets import INTEGER_TARGETS
from snnlab.nn.neuron_equations import Line, RenderedEquations, equations_of_kind, equations_of_neuron
from snnlab.nn.neurons.base import SurrogateNeuron
from snnlab.nn.neurons.learned_oscillator import LearnedOscillator
from snnlab.nn.quantization import make_whole
from snnlab.nn.surrogate import spike

from ..marks import mostly_long

# Settings of each kind beside its defaults; together they choose every form of its equations.
LEAKY: list[dict[str, Any]] = [
    {"v_leak": 0.25, "decay": "euler", "input_gain": "average"},
    {"beta": 0.8, "input_gain": "1-a", "reset": "value", "v_reset": -0.5},
    {"tau_mem": "3 steps", "reset": "none", "threshold": "strict", "input_gain": 0.7},
]
DELAYED: list[dict[str, Any]] = [
    {"reset_delay": True, "input_gain": "average"},
    {"reset_delay": True, "reset": "value", "v_reset": -0.25},
]
COUNTING: list[dict[str, Any]] = [{"spikes": "several", "floor": -0.5}, {"learn": ["v_threshold"]}]
SYNAPTIC: list[dict[str, Any]] = [
    {"synapse": "decay_first", "input_gain": "1-a", "tau_syn": "2 steps"},
    {"synapse": "next_step", "input_gain": 0.5, "alpha": 0.3},
    {"decay": "euler"},
]
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "adex": SYNAPTIC[:2],
    "adlif": [*LEAKY[1:], {"coupling": "before_reset", "a_gain": 0.3, "b_gain": "1-rho", "q": 3.0}],
    "alif": [*LEAKY, {"adapted_reset": True}, {"adapted_reset": True, "input_gain": "average", "rho": 0.5}],
    "brf": [{"gamma": 0.5, "input_gain": 2.0}],
    "coba_lif": [{"time_step": None}],
    "cuba_li": [*SYNAPTIC, {"v_leak": 0.25}],
    "cuba_lif": [*LEAKY, *DELAYED[1:], *SYNAPTIC, *COUNTING],
    "ef_adlif": [{"coupling": "before_reset", "a_gain": 0.3}, {"reset": "value"}],
    "glif": [],
    "iaf": [{"reset": "value", "v_reset": -0.5}, {"reset": "none"}, {"reset_delay": True}, *COUNTING],
    "integrator": [{"input_gain": 0.3}],
    "izhikevich": [{"time_step": None, "input_gain": 3.0}],
    "klif": [*LEAKY[1:], {"scale_reset": True, "k": 1.5}, {"scale_reset": True, "input_gain": "average"}],
    "li": [{"v_leak": 0.25}, {"decay": "euler"}, {"input_gain": 0.3, "beta": 0.9}, {"input_gain": "1-a"}],
    "lif": [*LEAKY, *DELAYED, *COUNTING],
    "lif_ex": SYNAPTIC[:2],
    "lif_refrac": [{"reset": "subtract"}, {"reset": "none", "threshold": "strict", "rest_steps": 2}, SYNAPTIC[0]],
    "loihi2": [
        {"scale": 1, "tau_mem": "3 steps", "beta": None, "tau_syn": "2 steps", "alpha": None},
        {"scale": 1, "channel_bias": True, "input_gain": 3.0},
        {"scale": 3, "v_threshold": 0.5, "channel_bias": True, "input_gain": 3.0},
    ],
    "lsnn": [{"reset": "subtract", "threshold": "inclusive"}, {"reset": "none", "decay": "euler"}],
    "resonate_and_fire": [{"reset": "subtract", "input_gain": 0.3}, {"v_reset": -0.5}],
    "snntorch_alpha": [{"reset": "subtract"}, {"reset": "none", "tau_syn": "8 steps", "tau_mem": "3 steps"}],
    "tc_lif": [{"gamma": 0.25, "beta1": 0.5}],
    "ts_lif": [{"gamma": 0.25}],
    "tsodyks_markram": [{"decay": "euler"}],
}
# They have no single step: their classes state the equations.
STATED = ("masked_psn", "psn", "sliding_psn")
KINDS = [(kind, settings) for kind in SETTINGS for settings in ({}, *SETTINGS[kind])]
DT = 2.0
# Potentials of those that count in mV.
MILLIVOLTS = ("coba_lif", "izhikevich")
# The function floor has another name for Python, since a setting has this one.
FUNCTIONS = {name: getattr(math, name) for name in ("exp", "sqrt", "sin", "cos", "trunc", "pi")} | {
    "floor_of": math.floor,
    "ln": math.log,
    "max": max,
    "min": min,
    "sigmoid": lambda z: 1.0 / (1.0 + math.exp(-z)),
}


def build(kind: str, settings: dict[str, Any]) -> Neuron:
    torch.manual_seed(0)
    neuron = NEURONS.build(kind, dict(settings), kind, dt=DT, in_shape=(1,)).double()
    for parameter in neuron.parameters():  # away from where factors are 1/2, so that nothing cancels
        parameter.data += 0.1
    return neuron


def number(neuron: Neuron, name: str) -> float:
    """Return what a name in an equation stands for: a setting, a learned quantity, the length of a step."""
    if name == "dt":
        return 0.002 if isinstance(neuron, LearnedOscillator) else DT  # its frequencies are per second
    learned = getattr(neuron, "learned", {})
    if hasattr(neuron, "value"):
        found = neuron.value(name)  # type: ignore[operator]
    elif name in learned:
        found = learned[name]
    else:
        found = getattr(neuron, name)
    if isinstance(found, str):
        return DT * float(found.split()[0])
    if found is None:  # learned, with no setting of its value
        found = learned[name]
    found = torch.as_tensor(found, dtype=torch.float64).detach()
    return (found.abs() if name in ("omega", "damping") else found).item()


def computed(neuron: Neuron, found: RenderedEquations, state: dict[str, float], x: float) -> dict[str, float]:
    """Return the values of a step by the text of the equations, read by Python."""
    names: dict[str, Any] = {name: {0: value} for name, value in state.items()} | {"x": {1: x}, "t": 1}
    texts = [line.text()[0].replace("floor(", "floor_of(") for line in found.lines]
    lines = [re.fullmatch(r"(\w+)(\[t\]|\(z\))? = (.*)", text) for text in texts]
    coefficients: dict[str, str] = {}
    for line in lines:
        assert line is not None
        name, index, text = line.groups()
        if not index:
            coefficients[name] = text.split(" = ")[0]
        elif index == "(z)":
            names["H"] = eval(f"lambda z: {text}")  # our own text
    numbers: dict[str, float] = {}

    class Numbers(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            if name in FUNCTIONS:
                return FUNCTIONS[name]
            if name not in numbers:
                text = coefficients.get(name)
                numbers[name] = number(neuron, name) if text is None else eval(text.replace("^", "**"), {}, Numbers())
            return numbers[name]

    everything = Numbers(names)
    timed = [line.groups() for line in lines if line is not None and line[2] == "[t]"]
    if "v" in state and any("s[t-1]" in text for *_, text in timed) and "s" not in state:
        spike = next(text for name, _, text in timed if name == "s")
        before = dict(everything, t=0, u=everything["v"], v=everything["v"])
        everything["s"] = {0: eval(spike, {}, Numbers(before))}
    waiting = [(name, text.replace("^", "**")) for name, _, text in timed]
    while waiting:  # the cases of a kind need not stand in the order in which they are computed
        name, text = waiting.pop(0)
        try:
            everything.setdefault(name, {})[1] = eval(text, {}, everything)
        except KeyError:
            waiting.append((name, text))
    return {name: value[1] for name, value in everything.items() if isinstance(value, dict) and 1 in value}


def assert_computes_the_step(kind: str, neuron: Neuron, found: RenderedEquations) -> None:
    chance, make = random.Random(0), type(neuron.initial_state(torch.zeros(1, 1)))
    scale = 60.0 if kind in MILLIVOLTS else 150.0 if kind == "loihi2" else 1.5
    spikes = set[float]()
    for _ in range(40):
        state = {name: scale * chance.uniform(-0.7, 1.0) for name in make._fields}
        state |= {name: float(round(abs(state[name]))) for name in ("s", "rho") if name in state}
        state |= {name: 8.0 * state[name] for name in ("i",) if name in state}  # which acts through a small gain
        state = {name: float(round(value)) if kind == "loihi2" else value for name, value in state.items()}
        x = scale * chance.uniform(-1.0, 2.0)
        tensors = make(*(torch.tensor([[value]], dtype=torch.float64) for value in state.values()))
        drive = torch.tensor([[x]], dtype=torch.float64)
        y, after = neuron.step(neuron.weighted_input(drive[None])[0], tensors, neuron.coefficients())
        ours = computed(neuron, found, state, x)
        expected = {name: value.item() for name, value in after._asdict().items() if name in ours}
        assert {name: ours[name] for name in expected} == pytest.approx(expected, rel=1e-12, abs=1e-12)
        assert ours["s" if neuron.spiking else "y"] == pytest.approx(y.item(), rel=1e-12, abs=1e-12)
        spikes.add(y.item())
    assert len(spikes) > 1


@pytest.mark.parametrize(("kind", "settings"), mostly_long(KINDS, 47), ids=str)
def test_their_text_computes_what_the_step_does(kind: str, settings: dict[str, Any]) -> None:
    neuron = build(kind, settings)
    found = equations_of_neuron(neuron)
    assert isinstance(found, RenderedEquations), found
    assert_computes_the_step(kind, neuron, found)


RESET: dict[str, Any] = {"reset": "value", "v_reset": -0.25, "floor": -0.5}
WHOLE_KINDS: list[tuple[str, dict[str, Any]]] = [
    ("lif", {"tau_mem": 10.0, "v_leak": 0.1, **RESET}),
    ("cuba_lif", {"tau_mem": 10.0, "v_leak": 0.1, **RESET}),
    ("iaf", RESET),
    ("alif", {"tau_mem": 10.0, "tau_adapt": 20.0, "adaptation": 5.0}),
    ("brf", {"omega": [30.0, 30.0], "damping": [2.0, 2.0]}),
]


@pytest.mark.parametrize(("kind", "settings"), WHOLE_KINDS, ids=str)
def test_those_of_whole_numbers_have_each_setting_in_units(kind: str, settings: dict[str, Any]) -> None:
    neuron = build(kind, settings)
    whole = make_whole(neuron, INTEGER_TARGETS.build("int8", {}, "quantize"), 1, 0, 0)
    whole.set_scale(torch.tensor([0.64]))
    vars(whole)["weight_scale"] = 0.64
    found = equations_of_neuron(whole)
    assert isinstance(found, RenderedEquations), found
    assert_computes_the_step("loihi2", whole, found)


def of_choice(found: RenderedEquations, words: str) -> RenderedEquations:
    """Return the equations of a kind where one setting is chosen: the cases that name it, else the first."""
    lines: list[Line] = []
    for line in found.lines:
        named = [case for case in line.cases if words in case.when.split(", or ")]
        if named or len(line.cases) > 1 or not line.cases[0].when:
            lines.append(Line(line.name, line.timed, [(named or line.cases)[0]._replace(when="")]))
    return RenderedEquations(lines)


CHOICES = [
    *(("lif", {"reset": reset}) for reset in ("value", "none")),
    *(("lif", each) for each in ({"reset_delay": True}, {"spikes": "several"}, {"threshold": "strict"})),
    *(("lif", each) for each in ({"decay": "euler"}, {"input_gain": "1-a"}, {"input_gain": "average"})),
    *(("cuba_lif", each) for each in ({}, {"decay": "euler"}, {"input_gain": "1-a"}, {"reset_delay": True})),
    *(("alif", each) for each in ({}, {"adapted_reset": True}, {"reset": "value"}, {"input_gain": "average"})),
    *(("adlif", each) for each in ({}, {"coupling": "before_reset"}, {"b_gain": "1-rho"}, {"reset": "none"})),
    *(("klif", each) for each in ({"scale_reset": True}, {"reset": "value"})),
    *(("lif_refrac", each) for each in ({}, {"reset": "subtract"}, {"reset": "none"}, {"threshold": "strict"})),
    *(("lsnn", {"reset": reset}) for reset in ("subtract", "none")),
    *(("snntorch_alpha", {"reset": reset}) for reset in ("subtract", "none")),
    *(
        (kind, {})
        for kind in (
            "adex",
            "brf",
            "coba_lif",
            "glif",
            "izhikevich",
            "resonate_and_fire",
            "tc_lif",
            "ts_lif",
            "vanilla_rf",
        )
    ),
]


@cache
def cases(kind: str) -> RenderedEquations | str:
    return equations_of_kind(NEURONS.get(kind, "neuron"))


@pytest.mark.parametrize(("kind", "choice"), mostly_long(CHOICES, 19), ids=str)
def test_the_cases_of_a_kind_compute_what_their_choice_does(kind: str, choice: dict[str, Any]) -> None:
    (words,) = [f"{name}: {str(v).lower() if v is True else v}" for name, v in choice.items()] or [""]
    found = cases(kind)
    assert isinstance(found, RenderedEquations), found
    assert_computes_the_step(kind, build(kind, choice), of_choice(found, words))


@pytest.mark.parametrize("kind", list(NEURONS))
def test_they_are_rendered_or_stated(kind: str) -> None:
    rendered = isinstance(cases(kind), RenderedEquations)
    assert rendered == (kind not in STATED)
    assert bool(inspect.unwrap(NEURONS.get(kind, "neuron")).equations) != rendered


def test_latex_has_the_same_equations() -> None:
    found = equations_of_neuron(build("lif", {"v_leak": 0.25, "reset": "value", "v_reset": -0.5}))
    assert isinstance(found, RenderedEquations)
    assert found.latex().splitlines() == [
        r"\begin{aligned}",
        r"  u_{t} &= a\, v_{t-1} + x_{t} + \left(1 - a\right)\, v_{\mathrm{leak}} \\",
        r"  s_{t} &= H\left(u_{t} - v_{\mathrm{threshold}}\right) \\",
        r"  v_{t} &= \left(1 - s_{t}\right)\, u_{t} + v_{\mathrm{reset}}\, s_{t} \\",
        r"  H(z) &= \begin{cases} 1 & \text{if } z \ge 0 \\ 0 & \text{else} \end{cases} \\",
        r"  a &= \exp\left(-\frac{\Delta t}{\tau_{\mathrm{mem}}}\right)",
        r"\end{aligned}",
    ]


def test_values_per_neuron_are_shown_by_their_range() -> None:
    settings = {"v_leak": 0.25, "per_neuron": ["v_leak", "v_threshold"]}
    neuron = NEURONS.build("lif", settings, "lif", dt=DT, in_shape=(3, 2))
    neuron.get_buffer("v_leak_values")[0] = 0.5
    found = equations_of_neuron(neuron)
    assert isinstance(found, RenderedEquations)
    assert found.values == {"v_leak": "0.25 to 0.5", "v_threshold": "1", "dt": "2 ms", "tau_mem": "20 ms"}


def test_a_feedback_is_part_of_the_input() -> None:
    found = equations_of_neuron(build("lif", {"recurrent": True}))
    assert isinstance(found, RenderedEquations)
    assert found.text()[:2] == ["x[t] = input[t] + W * s[t-1]", "u[t] = a * v[t-1] + x[t]"]


class Trace(NamedTuple):
    v: Tensor
    s: Tensor


class Odd(SurrogateNeuron):
    """A neuron with a state s that is not its output, an exponential function, a division, and an unused name u."""

    gain: float = 0.5

    def coefficients(self) -> float:
        return 0.9

    def definitions(self) -> dict[str, str]:
        return {"k": "a = 0.9"}

    def initial_state(self, x: Tensor) -> Trace:
        return Trace(torch.zeros_like(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: Trace, coefficients: float) -> tuple[Tensor, Trace]:
        u = coefficients * state.v + torch.exp(-x * x) / (1.0 + state.s * state.s)
        fired = spike(u - self.gain, self.surrogate, 1.0)
        return fired, Trace((1.0 - fired) * u, coefficients * state.s + fired)


class Loud(Odd):
    """A step that a symbol makes fail."""

    def step(self, x: Tensor, state: Trace, coefficients: float) -> tuple[Tensor, Trace]:
        return {}[x], state


def test_a_state_may_have_the_name_of_the_output() -> None:
    found = equations_of_neuron(Odd(DT))
    assert isinstance(found, RenderedEquations)
    assert found.text() == [
        "u[t] = a * v[t-1] + exp(-x[t]^2) / (1 + s[t-1]^2)",
        "y[t] = H(u[t] - gain)",
        "v[t] = (1 - y[t]) * u[t]",
        "s[t] = a * s[t-1] + y[t]",
        "H(z) = 1 if z >= 0 else 0",
        "a = 0.9",
    ]
    assert found.values == {"gain": "0.5"}


def test_a_step_that_fails_with_symbols_has_no_equations() -> None:
    assert isinstance(equations_of_neuron(Loud(DT)), str)
