"""The contract of every neuron of the registry and every preset, with and without feedback."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from snnlab.config.folders import config_folder
from snnlab.kernels.trace import _WithSlope
from snnlab.nn import NEURONS, Neuron
from snnlab.nn.layer import OWN_SPIKES, reach_of
from snnlab.nn.neurons import Recurrent
from snnlab.nn.neurons.base import set_backend
from snnlab.nn.surrogate import Atan
from snnlab.runs.console_tables import equation_lines, neuron_properties
from snnlab.spec.signatures import has_parameter

from ...marks import mostly_long

T, B, SHAPE = 9, 3, (4, 3, 5)
FILES = {path.stem: path for path in sorted((config_folder() / "neuron").glob("*.yaml"))}
# They compute all steps at once: tests of their own.
PARALLEL = {"psn", "masked_psn", "sliding_psn"}
STEPWISE = [name for name in NEURONS if name not in PARALLEL]
NAMES = sorted({*FILES, *NEURONS} - PARALLEL)
KINDS = [*NAMES, *(f"{name}-recurrent" for name in STEPWISE)]
# Settings other than those of the presets, for tests of the time axis.
SEVERAL: dict[str, Any] = {"input_gain": 1.0, "beta": 0.8, "synapse": "decay_first", "spikes": "several"}
DIALECTS: dict[str, dict[str, Any]] = {
    "lif, value": {"type": "lif", "reset": "value", "v_reset": -0.5, "v_leak": 0.25},
    "lif, value, a step later": {"type": "lif", "reset": "value", "reset_delay": True},
    "lif, subtract, a step later": {"type": "lif", "reset": "subtract", "reset_delay": True},
    "lif, none": {"type": "lif", "reset": "none"},
    "cuba_lif, value": {"type": "cuba_lif", "reset": "value", "v_reset": -0.5, "v_leak": 0.25},
    "cuba_lif, value, a step later": {"type": "cuba_lif", "reset": "value", "reset_delay": True},
    "cuba_lif, subtract, a step later": {"type": "cuba_lif", "reset": "subtract", "reset_delay": True},
    "cuba_lif, none": {"type": "cuba_lif", "reset": "none"},
    "alif, adapted reset": {"type": "alif", "adapted_reset": True},
    "adlif, learned": {"type": "adlif", "learn": ["a", "b", "tau_adapt"]},
    "loihi2, 1/50": {"type": "loihi2", "alpha": 0.5, "beta": 0.25, "v_threshold": 0.7, "scale": 50},
    "cuba_lif, several": {"type": "cuba_lif", **SEVERAL, "alpha": 0.5, "floor": -0.25},
    "snntorch_alpha, subtract": {"type": "snntorch_alpha", "reset": "subtract"},
    "snntorch_alpha, none": {"type": "snntorch_alpha", "reset": "none"},
}

# Each type once, and feedback of some; presets and the other feedback in `make check`.
FIRST = {*NEURONS, "lif-recurrent", "adlif-recurrent", "cuba_lif-recurrent"}
MARKED = [pytest.param(kind, id=kind, marks=() if kind in FIRST else pytest.mark.long) for kind in KINDS]
every_kind = pytest.mark.parametrize("kind", MARKED)
every_dialect = pytest.mark.parametrize("kind", [*MARKED, *mostly_long(list(DIALECTS), 4)])
# What these tests check is in the text of the loops, which runs in Python.

# Settings with which the drive of these tests makes them spike at some steps.
GAINS: dict[str, dict[str, Any]] = {
    **{
        "brf": {"input_gain": 300.0},
        "vanilla_rf": {"input_gain": 300.0},
        "izhikevich": {"input_gain": 20.0},
        "klif": {"input_gain": 0.1},
    }
}
# Strong inhibition makes them spike, by their equations.
REBOUNDS = {
    "coba_lif": "its Euler step diverges",
    "izhikevich": "the square of the membrane",
    "loihi2": "its current begins anew at the other end of 24 bits",
    "resonate_and_fire": "half a period later",
}
# Their gradients are not derivatives of a function: they leave out the same terms as the library.
NOT_A_DERIVATIVE = {
    "izhikevich": "its square diverges without a full reset",
    "coba_lif-recurrent": "smoothed spikes above 1 and a reset of 60 mV",
    "loihi2": "quantized states; its backward passes resets by",
    "snntorch_alpha": "its reset is detached",
    "sinabs_lif": "several spikes a step, each with the same surrogate gradient",
}


def build(kind: str, dt: float = 2.0, in_shape: tuple[int, ...] = SHAPE, **changes: Any) -> Neuron:
    name, _, recurrent = kind.partition("-")
    if name in DIALECTS:
        settings = dict(DIALECTS[name])
    else:
        settings = yaml.safe_load(FILES[name].read_text(encoding="utf-8")) if name in FILES else {"type": name}
    settings |= GAINS.get(name, {}) | changes | ({"recurrent": True} if recurrent else {})
    torch.manual_seed(0)
    return NEURONS.build(settings.pop("type"), settings, name, dt=dt, in_shape=in_shape)


def drive(steps: int = T, batch: int = B, dtype: torch.dtype = torch.float32, scale: float = 12.0) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return ((torch.rand(steps, batch, *SHAPE, generator=generator) * 1.4 - 0.4) * scale).to(dtype)


def leaves(state: Any) -> list[Tensor]:
    return [state] if isinstance(state, Tensor) else [leaf for part in state for leaf in leaves(part)]


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    for a, b in zip(leaves(one), leaves(other), strict=True):
        assert torch.equal(a, b)


def chunks(neuron: Neuron, x: Tensor, size: int) -> tuple[Tensor, Any]:
    outputs, state = [], None
    for chunk in x.split(size):
        y, state = neuron(chunk, state)
        outputs.append(y)
    return torch.cat(outputs), state


@every_kind
@pytest.mark.parametrize("dtype", mostly_long([torch.float64, torch.bfloat16], 1))
def test_shapes_and_precision_are_those_of_the_input(kind: str, dtype: torch.dtype) -> None:
    neuron = build(kind).to(dtype)
    y, state = neuron(drive(dtype=dtype))
    assert all(tensor.dtype != torch.float32 for tensor in (*neuron.parameters(), *neuron.buffers()))
    assert y.shape == (T, B, *SHAPE)
    assert y.dtype == dtype
    assert y.isfinite().all()
    assert (y != 0).any()
    for leaf in leaves(state):
        assert leaf.shape == (B, *SHAPE)
        assert leaf.dtype == dtype
        assert leaf.isfinite().all()


@every_dialect
@pytest.mark.parametrize(("size", "dtype"), mostly_long([(1, torch.float32), (4, torch.bfloat16)], 1))
def test_pieces_and_single_steps_equal_the_whole_bit_for_bit(kind: str, size: int, dtype: torch.dtype) -> None:
    neuron, x = build(kind).to(dtype), drive(dtype=dtype)
    whole, last = neuron(x)
    assert whole.any()
    parts, state = chunks(neuron, x, size)
    assert torch.equal(parts, whole)
    assert_same(state, last)


@every_kind
def test_a_state_that_is_given_is_where_it_starts_and_is_not_changed(kind: str) -> None:
    neuron, x = build(kind), drive()
    with torch.no_grad():
        _, state = neuron(x)
    kept = copy.deepcopy(state)
    y, _ = neuron(x, state)
    assert_same(state, kept)
    assert torch.equal(neuron(x, neuron.initial_state(x[0]))[0], neuron(x)[0])
    assert not torch.equal(y, neuron(x)[0])


@every_dialect
def test_past_its_end_a_sample_gives_zeros_and_keeps_the_state_of_the_shorter_run(kind: str) -> None:
    neuron, x, lengths = build(kind).double(), drive(dtype=torch.float64), [T, 1, 5]
    y, state = neuron(x, lengths=torch.tensor(lengths))
    for b, n in enumerate(lengths):
        short, last = neuron(x[:n, b : b + 1])
        assert torch.equal(y[:n, b : b + 1], short)
        assert (y[n:, b] == 0).all()
        for part, expected in zip(leaves(state), leaves(last), strict=True):
            assert torch.equal(part[b : b + 1], expected)


@every_dialect
def test_counts_are_the_spikes_of_the_valid_steps_of_spiking_neurons_alone(kind: str) -> None:
    neuron = build(kind)
    counts: dict[str, Tensor] = {}
    y, _ = neuron(drive(), lengths=torch.tensor([T, 2, 4]), counts=counts)
    if neuron.spiking:
        assert torch.equal(counts[OWN_SPIKES], y.sum(0))
        assert (y == y.round()).all()
    else:
        assert counts == {}


@every_kind
def test_gradients_reach_the_input_and_every_parameter_and_are_finite(kind: str) -> None:
    neuron, x = build(kind), drive().requires_grad_()
    y, _ = neuron(x)
    (y * torch.randn_like(y)).sum().backward()
    for tensor in (x, *neuron.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.any()


# Compiled, some types in `make test`, more in `make check`, all in `make slow`; kernels/test_recurrent.py has feedback.
USUAL = ("lif", "cuba_lif", "alif", "norse_lif_recurrent")
OTHERS = [name for name in NAMES if name not in USUAL]
COMPILED = [
    *(pytest.param(name, marks=pytest.mark.compiled) for name in USUAL),
    *(
        pytest.param(name, marks=[pytest.mark.compiled, pytest.mark.slow if at % 10 else pytest.mark.long])
        for at, name in enumerate(OTHERS)
    ),
]


@pytest.mark.parametrize("kind", [*MARKED, *COMPILED])
def test_it_equals_the_plain_loop(kind: str) -> None:
    neuron = build(kind)
    found = []
    for backend in ("auto", "reference"):
        set_backend(neuron, backend)
        x = drive().requires_grad_()
        y, state = neuron(x)
        loss = (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum()
        found.append((y, *leaves(state), *torch.autograd.grad(loss, [x, *neuron.parameters()])))
    outputs = 1 + len(leaves(state))
    for at, (one, other) in enumerate(zip(*found, strict=True)):
        if at < outputs and not getattr(neuron, "neuron", neuron).approximate:
            assert torch.equal(one, other)
        else:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.detach().abs().max()))


def smooth(distance: Tensor, value: Any, slope: Any) -> Tensor:
    """Return, in place of the spike, the function whose derivative is the arctangent's surrogate gradient."""
    _, v_threshold = slope.args
    width = 0.4 * (v_threshold.item() if isinstance(v_threshold, Tensor) else v_threshold)
    return 0.5 + 0.8 * width * torch.atan(distance / width)


@pytest.mark.parametrize("kind", [kind for kind in MARKED if str(kind.values[0]).partition("-")[0] in NEURONS])
def test_gradients_equal_finite_differences_of_the_smoothed_neuron(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = kind.partition("-")[0]
    if excluded := NOT_A_DERIVATIVE.get(kind, NOT_A_DERIVATIVE.get(name)):
        pytest.skip(excluded)
    factory = NEURONS.get(name, name)
    changes: dict[str, Any] = {"detach_reset": False} if has_parameter(factory, "detach_reset") else {}
    if has_parameter(factory, "surrogate"):
        changes["surrogate"] = Atan(0.4, 0.8)
    neuron = build(kind, in_shape=(3,), **changes).double()
    set_backend(neuron, "reference")  # kernels support only the discontinuous spike function
    monkeypatch.setattr(_WithSlope, "forward", staticmethod(smooth))
    x = torch.rand(4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 2
    _, start = neuron(x)
    given = [leaf.detach().clone().requires_grad_() for leaf in leaves(start)]

    def run(x: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
        y, state = neuron(x, refilled(start, list(parts)))
        return y, *leaves(state)

    assert torch.autograd.gradcheck(run, (x.requires_grad_(), *given), eps=1e-6, atol=1e-7)


def refilled(state: Any, parts: list[Tensor]) -> Any:
    if isinstance(state, Tensor):
        return parts.pop(0)
    return type(state)(*(refilled(part, parts) for part in state))


@every_kind
def test_a_forward_leaves_no_state_in_the_module(kind: str) -> None:
    neuron = build(kind)
    before = {id(module): dict(vars(module)) for module in neuron.modules()}
    saved = copy.deepcopy(neuron.state_dict())
    first, _ = neuron(drive(), counts={})
    for module in neuron.modules():
        assert vars(module) == before[id(module)]
    torch.testing.assert_close(dict(neuron.state_dict()), dict(saved), rtol=0, atol=0)
    assert torch.equal(neuron(drive())[0], first)


@every_kind
def test_a_state_dict_makes_another_the_same_neuron(kind: str) -> None:
    one, other = build(kind), build(kind)
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.add_(0.1)
    other.load_state_dict(one.state_dict())
    assert torch.equal(other(drive())[0], one(drive())[0])
    assert torch.equal(copy.deepcopy(one)(drive())[0], one(drive())[0])


@every_dialect
def test_an_empty_batch_a_last_small_one_and_a_single_step_are_taken(kind: str) -> None:
    neuron = build(kind)
    for steps, batch in ((T, 0), (1, B), (T, 1)):
        y, state = neuron(drive(steps)[:, :batch])
        assert y.shape == (steps, batch, *SHAPE)
        assert all(leaf.shape[0] == batch for leaf in leaves(state))


@every_kind
def test_without_input_there_are_no_spikes(kind: str) -> None:
    y, state = build(kind)(torch.zeros(T, B, *SHAPE))
    if not any(name.endswith("bias") for name, _ in build(kind).named_parameters()):
        assert (y == 0).all()
    assert all(leaf.isfinite().all() for leaf in leaves(state))


@every_kind
@pytest.mark.parametrize("level", mostly_long([1e4, -1e4], 1))
def test_input_far_out_of_range_leaves_numbers_that_are_finite(kind: str, level: float) -> None:
    x = torch.full((T, B, *SHAPE), level, requires_grad=True)
    neuron = build(kind)
    y, state = neuron(x)
    assert y.isfinite().all()
    assert all(leaf.isfinite().all() for leaf in leaves(state))
    if neuron.spiking and level < 0 and not isinstance(neuron, Recurrent) and kind not in REBOUNDS:
        assert (y == 0).all()
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.isfinite().all()


@every_dialect
@pytest.mark.parametrize("lengths", mostly_long([None, [T, 1, 5]], 1))
def test_channels_last_memory_is_kept(kind: str, lengths: list[int] | None) -> None:
    x = drive().flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (T, B))
    y, state = build(kind)(x, lengths=None if lengths is None else torch.tensor(lengths))
    assert y.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert all(leaf.is_contiguous(memory_format=torch.channels_last) for leaf in leaves(state))


@pytest.mark.parametrize("kind", NAMES)
def test_its_info_has_what_show_prints(kind: str) -> None:
    neuron = build(kind)
    assert all(constant.factor < 1 for constant in neuron.constants())
    assert neuron_properties(neuron.info())
    assert repr(neuron).startswith(type(neuron).__name__)


@pytest.mark.parametrize("kind", STEPWISE)
def test_a_neuron_has_equations_and_needs_no_later_step(kind: str) -> None:
    neuron = NEURONS.build(kind, {}, kind, dt=1.0, in_shape=(4,))
    assert any("[t-1]" in line for line in equation_lines(NEURONS.get(kind, kind)))
    assert reach_of([neuron]) == "past"
