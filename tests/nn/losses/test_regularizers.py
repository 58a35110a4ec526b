"""Regularizers compared with plain NumPy; their gradient reaches the weights for each way to run a network."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn import build_network
from snnlab.nn.losses import LossContext, RateBand, SpikeBudget, Spikes, SynapticOperations, Weights
from snnlab.nn.neurons.base import set_backend

from ...refusals import assert_raises, assert_text_has
from .conftest import HIDDEN, LENGTHS, SPIKING, B, K, LossInputs, T, bound, make_context

WEIGHT = torch.tensor([1.0, 0.0, 0.5, 2.0, 1.0], dtype=torch.float64)


def value(part: Any, inputs: LossInputs, weight: Tensor | None = None) -> float:
    return float(part(inputs.y, inputs.targets["class"], LENGTHS, inputs.counts, weight)[0].detach())


def above(ratio: np.ndarray) -> np.ndarray:
    return np.where(ratio > 1, np.log(np.maximum(ratio, 1)), 0) ** 2


@pytest.mark.parametrize("dt", [2.0, None])
@pytest.mark.parametrize("of", ["layer", "neuron"])
def test_the_cost_of_a_rate_is_its_relative_distance_from_the_band(
    inputs: LossInputs, of: Any, dt: float | None
) -> None:
    lower, upper = (120.0, 210.0) if dt else (0.24, 0.42)
    part = RateBand(lower=lower, upper=upper, of=of)
    part.bind(make_context()._replace(dt=dt))
    layers = []
    for counts in inputs.counts.values():
        rates = counts.numpy() / LENGTHS.numpy()[:, None] * (500.0 if dt else 1.0)
        rates = rates.mean(1, keepdims=True) if of == "layer" else rates
        layers.append((np.maximum(0, 1 - rates / lower) ** 2 + above(rates / upper)).mean(1))
    each = np.mean(layers, 0)
    assert each.any()
    assert value(part, inputs) == pytest.approx(each.mean())
    assert value(part, inputs, WEIGHT) == pytest.approx((each * WEIGHT.numpy()).mean())


def test_the_gradient_below_a_budget_is_0_also_for_silence() -> None:
    counts = torch.tensor([[0.0], [3.0], [4.0], [5.0]], requires_grad=True)
    part = SpikeBudget(4.0)
    part.bind(make_context({"fc": {"type": "linear", "out_features": 1}, "lif": SPIKING["lif"]}))
    part(counts, LENGTHS, LENGTHS, {"lif": counts})[0].backward()
    assert counts.grad is not None
    assert counts.grad[:3].tolist() == [[0.0]] * 3
    assert float(counts.grad[3]) == pytest.approx(2 * np.log(5 / 4) / 5 / 4)


def test_spikes_are_counted_in_the_layers_that_are_named(inputs: LossInputs) -> None:
    lif, last = (n.numpy() for n in inputs.counts.values())
    assert value(bound("spikes"), inputs) == pytest.approx((lif.sum(1) + last.sum(1)).mean())
    assert value(bound("spikes", power=2, layers=["lif"]), inputs) == pytest.approx((lif**2).sum(1).mean())
    part = bound("spike_budget", budget=3.0, layers=["last"])
    assert value(part, inputs) == pytest.approx(above(last.sum(1) / 3).mean())


def test_operations_are_spikes_times_connections(inputs: LossInputs) -> None:
    operations = inputs.counts["lif"].numpy().sum(1) * K  # the last layer's spikes reach no weights
    part = bound("synaptic_operations", budget=7.0)
    assert value(part, inputs) == pytest.approx(above(operations / 7).mean())
    assert not part.state_dict()  # its buffers follow from the network and are not saved


@pytest.mark.parametrize("power", [1, 2])
def test_weights_are_summed_without_biases_and_constants(inputs: LossInputs, power: Any) -> None:
    layers: dict[str, Any] = {
        "fc": {"type": "linear", "out_features": HIDDEN, "weight_norm": True},
        "norm": {"type": "batch_norm"},
        "lif": {"type": "lif", "tau_mem": 10.0, "recurrent": True, "learn": {"tau_mem": "neuron"}},
        "out": {"type": "linear", "out_features": K},
    }
    context = make_context(layers)
    network = context.built.network

    def size(*weights: Tensor) -> float:
        return float(sum((w.detach().abs() ** power).sum() for w in weights))

    fc, out, back = (network.get_submodule(name) for name in ("fc", "out", "lif.feedback"))
    for names, weights in ((None, (fc.weight, out.weight, back.weight)), (["out", "lif"], (out.weight, back.weight))):
        part = Weights(power=power, layers=names)
        part.bind(context)
        assert value(part, inputs) == pytest.approx(size(*weights))  # type: ignore[arg-type]
        assert value(part, inputs, WEIGHT) == pytest.approx(size(*weights) * float(WEIGHT.mean()))  # type: ignore[arg-type]
        assert not list(part.parameters())
    part(inputs.y, inputs.targets["class"], LENGTHS, inputs.counts)[0].backward()
    assert back.get_parameter("weight").grad is not None


CONV: dict[str, dict[str, Any]] = {
    "conv": {"type": "conv2d", "out_channels": 3, "kernel_size": 3, "bias": False},
    "lif": {"type": "lif", "tau_mem": 10.0, "v_threshold": 0.1},
    "pool": {"type": "max_pool", "kernel_size": 2},
    "flatten": {"type": "flatten"},
    "out": {"type": "linear", "out_features": K},
    "readout": {"type": "li", "tau_mem": 10.0},
}


def gradient(backend: Any, segments: int, part: Any) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    built = build_network(CONV, in_shape=(1, 8, 8), dt=2.0, num_steps=T)
    set_backend(built.network, backend)
    part.bind(LossContext(built, (1, 8, 8), 2.0, T, K))
    if segments:
        built.network.configure(checkpoint_segments=segments)
    x = (torch.rand(T, B, 1, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    counts: dict[str, Tensor] = {}
    y, _ = built.network(x, lengths=LENGTHS, counts=counts)
    found = part(y, torch.zeros(B, dtype=torch.int64), LENGTHS, counts)[0]
    found.backward()
    weight = built.network.get_parameter("conv.weight").grad
    assert weight is not None
    return found.detach(), weight


@pytest.mark.parametrize(
    "make",
    [
        lambda: RateBand(lower=400.0, of="neuron"),
        lambda: RateBand(upper=2.0),
        Spikes,
        lambda: SpikeBudget(4.0),
        lambda: SynapticOperations(10.0),
    ],
    ids=["lower", "upper", "spikes", "spike_budget", "synaptic_operations"],
)
@pytest.mark.parametrize(("backend", "segments"), [("numba", 0), ("numba", 2)])
def test_the_gradient_of_counts_reaches_the_weights(make: Any, backend: str, segments: int) -> None:
    plain, expected = gradient("reference", 0, make())
    found, actual = gradient(backend, segments, make())
    assert expected.abs().sum() > 0
    torch.testing.assert_close(found, plain)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)


def test_a_budget_of_a_silent_network_gives_one_warning(inputs: LossInputs, caplog: pytest.LogCaptureFixture) -> None:
    silent = {key: torch.zeros_like(n) for key, n in inputs.counts.items()}
    for name in ("spike_budget", "synaptic_operations"):
        part = bound(name)
        with caplog.at_level(logging.WARNING):
            part.eval()
            value(part, inputs._replace(counts=silent))
            assert not caplog.records
            part.train()
            for _ in range(2):
                value(part, inputs._replace(counts=silent))
        assert len(caplog.records) == 1
        assert_text_has(caplog.text, "budget", "fires")
        caplog.clear()
    value(bound("spike_budget"), inputs)
    assert not caplog.records
    value(bound("spike_budget", budget=0.5), inputs)
    assert_text_has(caplog.text, "budget", 0.5)


@pytest.mark.parametrize(
    ("make", "fragments"),
    [
        (lambda: RateBand(), ("lower", "upper")),
        (lambda: RateBand(lower=50.0, upper=20.0), ("lower", 20, 50)),
        (lambda: RateBand(lower=600.0), ("lower", 600, 500)),
        (lambda: RateBand(upper=500.0), ("upper", 500)),
        (lambda: RateBand(lower=5.0, layers=["lif1"]), ("layers", "lif1", "lif")),
        (lambda: Spikes(layers=["out"]), ("layers", "out")),
        (lambda: Spikes(layers=[]), ("layers", "leave")),
        (lambda: SpikeBudget(63.0), ("budget", 63, 9)),
        (lambda: SynapticOperations(1e6), ("budget", "1,000,000", 108)),
        (lambda: Weights(layers=["lif"]), ("layers", "lif")),
    ],
)
def test_impossible_bounds_and_unknown_layers_are_rejected(make: Any, fragments: tuple) -> None:
    with assert_raises(ConfigError, *fragments):
        make().bind(make_context())


def test_a_network_without_spikes_cannot_be_regularized() -> None:
    context = make_context({"out": {"type": "linear", "out_features": K}})
    for part in (RateBand(lower=5.0), Spikes(), SpikeBudget(5.0), SynapticOperations(5.0)):
        with assert_raises(ConfigError, "layers", "network"):
            part.bind(context)


def test_graded_spikes_have_no_maximal_rate() -> None:
    several = make_context({"fc": {"type": "linear", "out_features": K}, "iaf": {"type": "iaf", "spikes": "several"}})
    counts = {"iaf": torch.full((B, K), 1e9)}
    for part, costs in ((RateBand(lower=600.0), False), (RateBand(upper=600.0), True), (SpikeBudget(1e6), True)):
        part.bind(several)
        assert bool(part(counts["iaf"], LENGTHS, LENGTHS, counts)[0] > 0) == costs


def test_the_name_of_a_block_selects_its_layers() -> None:
    lif = {"type": "lif", "tau_mem": 10.0}
    layers: dict[str, dict[str, Any]] = {
        "one": {"type": "sequential", "layers": {"fc": {"type": "linear", "out_features": 4}, "a": lif, "b": lif}},
        "c": lif,
    }
    context = make_context(layers)
    ones = {key: torch.ones(B, *shape) for key, shape in context.built.spiking.items()}
    for names, many in ((["one"], 8), (["one.b"], 4), (["one", "one.a", "c"], 12)):
        part = Spikes(layers=names)
        part.bind(context)
        assert float(part(torch.zeros(T, B, 4), LENGTHS, LENGTHS, ones)[0]) == many
