"""E-prop beside NEST's losses of its evidence-accumulation task.

The task is that of Bellec et al. 2020: of seven cues on the left or right, which side had more, asked after a second.
Weights and input of NEST's test come from NumPy's legacy generator, whose numbers are the same in all versions, so NEST
is not needed to make them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from snnlab.data.events.frames import Batch
from snnlab.nn import build_loss, build_network
from snnlab.nn.learning import EProp, RuleContext, bind_rule
from snnlab.nn.losses import LossContext
from snnlab.nn.neurons.alif import ALIF
from snnlab.nn.neurons.membrane import ThresholdCoefficients
from snnlab.nn.neurons.recurrent import Recurrent
from snnlab.spec.declared import no_setting
from snnlab.training.task import BatchTask

INPUTS, N, ADAPTIVE, OUTPUTS = 40, 100, 50, 2
CUES, CUE, SPACING, WAIT, RECALL = 7, 100, 50, 1050, 150
STEPS = CUES * (CUE + SPACING) + WAIT + RECALL
RESTING = 4  # steps after a spike; NEST counts the spike's own, t_ref = 5
RATE, RATE_FACTOR = 0.01, 300.0  # spikes a step that the regularizer wants, and its factor
# NEST, testsuite/pytests/test_eprop_bsshslm_2020_plasticity.py at 00ce939c; by the number of trials in a batch.
LOSSES = {
    1: [0.741152550006, 0.740388187700, 0.665785233177, 0.663644193322, 0.729428962844],
    2: [0.702163370672, 0.735555303152, 0.740354864111, 0.683882815282, 0.707841122268],
}


class RestingState(NamedTuple):
    """Membrane potential, adaptation, and the steps of rest that are left, each `[B, ...]`."""

    v: Tensor
    w: Tensor
    rest: Tensor


class RestingALIF(ALIF):
    """The neuron `alif` that does not spike for some steps after a spike, but integrates, and resets after the leak."""

    def initial_state(self, x: Tensor) -> RestingState:  # pyright: ignore[reportIncompatibleMethodOverride]
        return RestingState(self.rest(x), torch.zeros_like(x), torch.zeros_like(x))

    def step(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, state: RestingState, coefficients: ThresholdCoefficients
    ) -> tuple[Tensor, RestingState]:
        k = coefficients
        u = self.integrate(state.v, x, k.membrane)
        able = self.spike_at(k.adaptation * state.w + k.membrane.v_threshold, u, k.membrane)
        s = torch.where(state.rest > 0, 0.0, able)
        rest = (state.rest - 1.0).clamp(min=0.0) + RESTING * s.detach()
        v = u - k.membrane.v_threshold / k.membrane.a * s.detach()
        return s, RestingState(v, k.rho * state.w + s, rest)


class EPropWithRates(EProp):
    """E-prop and its regularizer: each trace, not filtered, times the distance of a neuron's rate from the target."""

    distance: Tensor = no_setting()

    def signals(self, layers: Mapping[str, Any], outputs: list[Tensor], within: list[Tensor]) -> list[Any]:
        hidden, *rest = super().signals(layers, outputs, within)
        signal = torch.cat([hidden.by_leak, self.distance.expand_as(hidden.by_leak)])
        return [type(hidden)(signal, torch.cat([hidden.decay, torch.zeros_like(hidden.decay)])), *rest]


def draw_weights(rng: np.random.RandomState) -> dict[str, Tensor]:
    """Return the weights of input, feedback, readout and errors, in the order in which NEST's test draws them."""
    found = [rng.randn(INPUTS, N).T / np.sqrt(INPUTS), rng.randn(N, N).T / np.sqrt(N)]
    np.fill_diagonal(found[1], 0.0)
    limit = np.sqrt(3.0 / ((N + OUTPUTS) / 2.0))
    found += [rng.uniform(-limit, limit, (N, OUTPUTS)).T, rng.randn(N, OUTPUTS).T]
    names = ("fc.weight", "rec.feedback.weight", "out.weight", "errors")
    return {name: torch.tensor(one.astype(np.float32)).double() for name, one in zip(names, found, strict=True)}


def draw_trials(rng: np.random.RandomState, number: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return input spikes `[B, T, I]` and the side with more cues: ten inputs a side, ten for recall, ten for noise."""
    likely = np.array([0.3, 0.7], dtype=np.float32)[rng.choice([0, 1], number)]
    cues = np.stack([rng.choice([0, 1], CUES, p=np.array([p, np.float32(1) - p], np.float32)) for p in likely])
    chance = np.zeros((number, STEPS, INPUTS))
    for b, t in np.ndindex(cues.shape):
        start, side = t * (CUE + SPACING) + SPACING, 10 * cues[b, t]
        chance[b, start : start + CUE, side : side + 10] = 0.04
    chance[:, -RECALL:, 20:30] = 0.04
    chance[:, :, 30:] = 0.01
    spikes = chance > rng.rand(chance.size).reshape(chance.shape)
    spikes[:, 0] = False
    return spikes, (cues.sum(1) > CUES // 2).astype(np.int64)


@pytest.mark.parametrize("number", [pytest.param(1, marks=pytest.mark.long), pytest.param(2, marks=pytest.mark.slow)])
def test_eprop_has_the_losses_of_nest_on_evidence_accumulation(number: int) -> None:
    rng = np.random.RandomState(1)
    weights = draw_weights(rng)
    relaxation, leak = 1 - np.exp(-1 / 2000), 1 - np.exp(-1 / 20)
    neuron: dict[str, Any] = {
        **{"v_threshold": 0.6, "tau_mem": 20.0, "tau_adapt": 2000.0, "adaptation": float(1.7 * relaxation / leak)},
        **{"adaptive": ADAPTIVE, "surrogate": {"type": "triangle", "width": 0.5, "height": 0.5}},
    }
    layers = {
        "fc": {"type": "linear", "out_features": N, "bias": False},
        "rec": {"type": "alif", "recurrent": {"autapses": False}, **neuron},
        "out": {"type": "linear", "out_features": OUTPUTS, "bias": False},
        "readout": {"type": "li", "tau_mem": 20.0, "input_gain": "1-a"},
    }
    built = build_network(layers, in_shape=(INPUTS,), dt=1.0, num_steps=STEPS)
    network = built.network.double()
    recurrent = network.get_submodule("rec")
    assert isinstance(recurrent, Recurrent)
    resting = RestingALIF(dt=1.0, in_shape=(N,), **neuron)
    recurrent.neuron = resting
    rule, loss = EPropWithRates(feedback="random"), build_loss({"type": "cross_entropy_steps"})
    loss.bind(LossContext(built, (INPUTS,), 1.0, STEPS, OUTPUTS))
    bind_rule(rule, "eprop", RuleContext(built, loss, "cross_entropy_steps", 0, (INPUTS,), 1.0))
    rule.get_buffer("errors_to_fc").copy_(weights.pop("errors"))
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, one in weights.items():
            parameters[name].copy_(one)
    moments = {name: (torch.zeros_like(one), torch.zeros_like(one)) for name, one in weights.items()}
    trials = [draw_trials(rng, number) for _ in LOSSES[number]]
    found = list[float]()
    for update, (spikes, sides) in enumerate(trials, 1):
        x = torch.tensor(spikes).double().transpose(0, 1).contiguous()
        targets = torch.full((STEPS, number), -100)
        targets[-RECALL:] = torch.tensor(sides)
        batch = Batch(x, torch.full((number,), STEPS), targets, torch.arange(number))
        counts: dict[str, Tensor] = {}
        with torch.no_grad():
            network(x, counts=counts)
        # Divided by the steps of recall, as NEST divides all of a gradient.
        rule.distance = RATE_FACTOR * (counts["rec"] / STEPS - RATE) / STEPS / RECALL / number
        network.zero_grad()
        result = rule.learn(network, BatchTask(batch, loss, "steps", lambda: None), {})
        result.loss.backward()
        found.append(float(result.loss.detach()))
        with torch.no_grad():
            for name, (m, v) in moments.items():
                gradient = parameters[name].grad
                assert gradient is not None
                m.mul_(0.9).add_(gradient, alpha=0.1)
                v.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
                # TensorFlow's Adam: epsilon is added to the uncorrected root, as it is not in torch's.
                rate = 5e-3 * np.sqrt(1 - 0.999**update) / (1 - 0.9**update)
                parameters[name] -= rate * m / (v.sqrt() + 1e-8)
    assert found == pytest.approx(LOSSES[number], rel=1e-9)
