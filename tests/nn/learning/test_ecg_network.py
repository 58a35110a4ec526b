"""The rules for recurrent layers beside real-time recurrent learning of the ECG network, written out in numpy."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from snnlab.nn import BuiltNetwork
from snnlab.nn.neurons.base import set_backend
from snnlab.session.rule_gradient import compare_gradients
from snnlab.session.session import Session

from .tasks import assert_equal, batch_of, gradients, make_rule

Array = NDArray[np.float64]
N, INPUTS, CLASSES, STEPS = 36, 4, 6, 40
DT = 0.01  # s, of the equations
GAIN = 300.0  # of the input, so that forty steps have spikes


def surrogate(u: Array) -> Array:
    """Return the derivative of a spike: a Gaussian of 0.5 less one six times as wide, half as high as the paper's."""

    def normal(sigma: float) -> Array:
        return np.exp(-(u**2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))

    return 0.5 * (1.15 * normal(0.5) - 0.3 * normal(3.0))


def real_time_recurrent_learning(
    parameters: dict[str, Array], x: Array, targets: NDArray[np.int64], decay: Array | None
) -> tuple[dict[str, Array], float, float]:
    """Return the gradient of one recording's mean cross-entropy over its steps, the loss, and the spikes.

    v, w, q and the spikes s of 36 neurons, and the readout r where it has a leak, are one state h with
    P[t] = dh[t]/dh[t-1] P[t-1] + dh[t]/dp.
    """
    joined, out = parameters["fc1.weight"], parameters["out.weight"]
    recurrent, omega, b = (parameters[f"brf1.{name}"] for name in ("feedback.weight", "neuron.omega", "neuron.damping"))
    width = {"input": N * INPUTS, "recurrent": N * N, "omega": N, "damping": N}
    starts = dict(zip(width, np.cumsum([0, *width.values()]), strict=False))
    size, rows = sum(width.values()), np.arange(N)
    root = np.sqrt(1 - (DT * omega) ** 2)
    constant, turn = root - 1 - DT * b, DT * omega
    v = w = q = s = np.zeros(N)
    pv = pw = pq = ps = np.zeros((N, size))
    r, pr = np.zeros(CLASSES), np.zeros((CLASSES, size))
    p_out, p_decay = np.zeros((CLASSES, N)), np.zeros(CLASSES)
    found, found_out, found_decay = np.zeros(size), np.zeros((CLASSES, N)), np.zeros(CLASSES)
    loss = spikes = 0.0
    for step, target in zip(x, targets, strict=True):
        beta = constant - DT * q
        p_beta = -DT * pq
        p_beta[rows, starts["omega"] + rows] -= DT * turn / root
        p_beta[rows, starts["damping"] + rows] -= DT
        p_drive = recurrent @ ps
        for i in rows:
            p_drive[i, starts["input"] + i * INPUTS :][:INPUTS] += step
            p_drive[i, starts["recurrent"] + i * N :][:N] += s
        new_v = v + beta * v - turn * w + DT * GAIN * (joined @ step + recurrent @ s)
        new_w = w + turn * v + beta * w
        p_new_v = (1 + beta)[:, None] * pv + v[:, None] * p_beta - turn[:, None] * pw + DT * GAIN * p_drive
        p_new_w = (1 + beta)[:, None] * pw + w[:, None] * p_beta + turn[:, None] * pv
        p_new_v[rows, starts["omega"] + rows] -= DT * w
        p_new_w[rows, starts["omega"] + rows] += DT * v
        u = new_v - 1.0 - q
        s, ps = (u > 0).astype(float), surrogate(u)[:, None] * (p_new_v - pq)
        q, pq = 0.9 * q + s, 0.9 * pq + ps
        v, w, pv, pw = new_v, new_w, p_new_v, p_new_w
        spikes += s.sum()
        gain = np.ones(CLASSES) if decay is None else 1 - decay
        kept = np.zeros(CLASSES) if decay is None else decay
        before = r
        r, pr = kept * r + gain * (out @ s), kept[:, None] * pr + gain[:, None] * (out @ ps)
        p_out = kept[:, None] * p_out + gain[:, None] * s
        p_decay = kept * p_decay + before - out @ s
        odds = np.exp(r - r.max())
        error = odds / odds.sum()
        loss -= np.log(error[target]) / len(x)
        error[target] -= 1
        found += error @ pr / len(x)
        found_out += error[:, None] * p_out / len(x)
        found_decay += error * p_decay / len(x)
    parts = np.split(found, list(starts.values())[1:])
    named = {
        "fc1.weight": parts[0].reshape(N, INPUTS),
        "brf1.feedback.weight": parts[1].reshape(N, N),
        "brf1.neuron.omega": parts[2],
        "brf1.neuron.damping": parts[3],
        "out.weight": found_out,
    }
    return named | ({} if decay is None else {"decay": found_decay}), loss, spikes


def ecg_network(*overrides: str) -> BuiltNetwork:
    """Return the network of experiment=ecg_brf in double precision."""
    torch.manual_seed(0)
    built = Session.composed("experiment=ecg_brf", f"model.layers.brf1.input_gain={GAIN}", *overrides).built
    built.network.double()
    set_backend(built.network, "reference")
    return built


def both(rule: str, *overrides: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return the gradients of a rule and of real-time recurrent learning; their losses and spikes are equal."""
    built = ecg_network(*overrides)
    batch = batch_of((INPUTS, 1, 1), (STEPS,) * 2, CLASSES, steps=STEPS, labels_at_steps=True)
    loss = "cross_entropy_steps"
    ours, _, counts = gradients(make_rule(rule, built, loss, (INPUTS, 1, 1)), built, batch, loss)
    values = {name: one.detach().numpy() for name, one in built.network.named_parameters()}
    learned = values.pop("readout.learned.tau_mem", None)
    decay = None if learned is None else np.exp(-np.exp(-learned))
    x, targets = batch.x.numpy().reshape(STEPS, 2, INPUTS), batch.targets.numpy()
    results = [real_time_recurrent_learning(values, x[:, b], targets[:, b], decay) for b in range(2)]
    assert sum(spikes for *_, spikes in results) == counts["brf1"].sum() > 100
    assert np.mean([loss for _, loss, _ in results]) == pytest.approx(float(ours.pop("loss")), rel=1e-12)
    return ours, {name: torch.tensor(np.mean([found[name] for found, *_ in results], 0)) for name in results[0][0]}


@pytest.mark.long
def test_before_a_readout_without_memory_ostl_is_real_time_recurrent_learning() -> None:
    ours, expected = both("ostl", "~model.layers.readout")
    assert_equal(ours, expected)


@pytest.mark.long
def test_bptt_of_the_whole_network_is_real_time_recurrent_learning() -> None:
    ours, expected = both("bptt")
    time_constant = ours.pop("readout.learned.tau_mem")  # log of tau in steps: d decay / d log tau = -decay log decay
    decay = torch.exp(-torch.exp(-ecg_network().network.get_parameter("readout.learned.tau_mem").detach()))
    assert_equal(ours | {"decay": time_constant / (-decay * decay.log())}, expected)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["eprop", "ostl", "d_rtrl", "sltt"])
def test_the_page_says_how_far_each_rule_is_from_real_time_recurrent_learning(rule: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "learning.md").read_text()
    (row,) = re.findall(rf"^\| `{rule}` ((?:\| [\d.]+, [\d.]+ )+)\|$", page, re.M)
    said = [float(number) for number in re.findall(r"[\d.]+", row)]
    ours, expected = both(rule)
    names = ("fc1.weight", "brf1.feedback.weight", "brf1.neuron.omega", "out.weight")
    found = [compare_gradients({name: ours[name]}, {name: expected[name]})[name.partition(".")[0]] for name in names]
    assert [part for one in found for part in (one.cosine, one.norm)] == pytest.approx(said, abs=0.0051)
