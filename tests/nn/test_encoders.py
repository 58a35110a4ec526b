from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.nn import LIF
from snnlab.nn.encoders import ENCODERS, Delta, Latency, Poisson

from ..refusals import assert_raises

T = 12


def build(kind: str, dt: float | None = 1.0, **settings: Any) -> Any:
    return ENCODERS.build(kind, settings, "encoder", dt=dt)


def steps_of(spikes: Tensor) -> list[int | None]:
    """Return the step of each value's only spike, or None."""
    assert (spikes.sum(0) <= 1).all()
    return [int(row.argmax()) if row.any() else None for row in spikes.flatten(1).T]


def test_constant_current_is_the_same_at_each_step() -> None:
    x = torch.randn(2, 3)
    y = build("constant_current")(x, T)
    assert y.shape == (T, 2, 3)
    assert all(torch.equal(y_t, x) for y_t in y)


@pytest.mark.parametrize(("dt", "rate"), [(1.0, 200.0), (5.0, 40.0), (None, None)])
def test_poisson_has_its_rate_within_5_sigma(dt: float | None, rate: float | None) -> None:
    x = torch.tensor([0.0, 0.01, 0.3, 0.8, 1.0]).repeat(50, 1)
    probability = x[0] if rate is None or dt is None else x[0] * rate * dt / 1000
    spikes = build("poisson", dt, **({} if rate is None else {"max_rate_hz": rate}), seed=7)(x, 2000)
    assert spikes.shape == (2000, 50, 5)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    draws = 2000 * 50
    sigma = (probability * (1 - probability) / draws).sqrt()
    assert ((spikes.mean((0, 1)) - probability).abs() <= 5 * sigma).all()


def test_the_seed_is_independent_of_the_global_generator() -> None:
    x, encoder = torch.full((3, 40), 0.5), build("poisson", seed=3)
    torch.manual_seed(0)
    first, then = encoder(x, T), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(encoder(x, T), first)
    assert torch.equal(build("poisson", seed=3)(x, T), first)
    assert not torch.equal(build("poisson", seed=4)(x, T), first)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), then)  # it takes nothing from the global one either


def test_poisson_draws_in_single_precision_for_half_precision_input() -> None:
    x = torch.full((1000,), 2.0**-9, dtype=torch.bfloat16)
    spikes = build("poisson")(x, 1000)
    assert spikes.dtype == torch.bfloat16
    assert torch.equal(spikes.float(), build("poisson")(x.float(), 1000))
    assert 0 < spikes.float().mean() < 2 * 2.0**-9


def test_whole_numbers_are_encoded_in_the_default_type() -> None:
    x = torch.tensor([0, 1], dtype=torch.uint8)
    for kind in ("poisson", "latency"):
        spikes = build(kind)(x, 4)
        assert spikes.dtype == torch.float32
        assert spikes.sum(0).tolist() in ([0, 4], [0, 1])


def test_linear_latency_by_hand() -> None:
    x = torch.tensor([1.0, 0.75, 0.5, 0.26, 0.01, 0.009, 0.0])
    assert steps_of(build("latency")(x, 5)) == [0, 1, 2, 3, 4, None, None]
    assert steps_of(build("latency", dt=2.0, tau=4.0)(x, 5)) == [0, 0, 1, 1, 2, None, None]
    assert steps_of(build("latency", dt=None, tau="8 steps")(x, 5)) == [0, 2, 4, None, None, None, None]


@pytest.mark.parametrize(("dt", "tau"), [(1.0, 5.0), (0.5, 2.5), (None, "5 steps")])
def test_logarithmic_latency_is_when_a_membrane_with_that_input_reaches_the_threshold(dt: Any, tau: Any) -> None:
    x = torch.tensor([1.0, 0.6, 0.41, 0.4, 0.3, 0.0])
    spikes = build("latency", dt=dt, code="logarithmic", tau=tau, threshold=0.4)(x, 30)
    times = [5 * math.log(v / (v - 0.4)) for v in (1.0, 0.6, 0.41)]
    for value, time in zip((1.0, 0.6, 0.41), times, strict=True):
        assert value * (1 - math.exp(-time / 5)) == pytest.approx(0.4)
    assert steps_of(spikes) == [*map(round, times), None, None, None]


def test_delta_by_hand() -> None:
    x = torch.tensor([0.5, 0.5, 1.0, 0.75, 0.0, 0.25, 0.5])[:, None]
    assert Delta(threshold=0.5)(x).flatten().tolist() == [1, 0, 1, 0, -1, 0, 0]
    assert Delta(threshold=0.5, before="first")(x).flatten().tolist() == [0, 0, 1, 0, -1, 0, 0]
    assert Delta(threshold=0.5, off_spikes=False)(x).flatten().tolist() == [1, 0, 1, 0, 0, 0, 0]
    assert Delta(threshold=0.5)(-x).flatten().tolist() == [-1, 0, -1, 0, 1, 0, 0]


def test_delta_encodes_samples_independently_and_accepts_integers() -> None:
    x = torch.randint(0, 255, (T, 3, 4), dtype=torch.uint8)
    spikes = build("delta", threshold=50.0)(x)
    assert spikes.shape == x.shape
    change = x.int().diff(dim=0, prepend=torch.zeros(1, 3, 4, dtype=torch.int32))  # bytes would wrap around
    assert torch.equal(spikes, (change >= 50).float() - (change <= -50).float())


@pytest.mark.parametrize("kind", ["constant_current", "poisson", "latency"])
def test_an_empty_batch_and_one_step_are_fine(kind: str) -> None:
    assert build(kind)(torch.zeros(0, 3), T).shape == (T, 0, 3)
    assert build(kind)(torch.ones(2, 3), 1).tolist() == torch.ones(1, 2, 3).tolist()


@pytest.mark.parametrize("kind", ["poisson", "latency"])
@pytest.mark.parametrize(
    ("values", "fragments"), [([-0.1, 0.5], (0, 1, -0.1, 0.5)), ([0.0, 255.0], (0, 1, 255)), ([0.0, math.nan], (0, 1))]
)
def test_values_out_of_range_are_rejected(kind: str, values: list[float], fragments: tuple) -> None:
    with assert_raises(ValueError, *fragments):
        build(kind)(torch.tensor(values), T)


def test_delta_rejects_values_that_are_not_finite() -> None:
    with assert_raises(ValueError, "delta"):
        Delta()(torch.tensor([[0.0], [math.nan]]))


@pytest.mark.parametrize("kind", ["constant_current", "poisson", "latency"])
def test_no_steps_are_refused(kind: str) -> None:
    with assert_raises((ValueError, ConfigError), "num_steps"):
        build(kind)(torch.ones(2), 0)


@pytest.mark.parametrize(
    ("kind", "dt", "settings", "fragments"),
    [
        ("poisson", 2.0, {"max_rate_hz": 600.0}, ("encoder.max_rate_hz", "600", "1.2", "2", "500")),
        ("poisson", None, {"max_rate_hz": 100.0}, ("encoder.max_rate_hz",)),
        ("latency", 1.0, {"threshold": 1.5}, ("encoder.threshold", 0, 1, 1.5)),
        ("latency", 1.0, {"code": "logarithmic"}, ("encoder.code", "N steps")),
        (
            "latency",
            1.0,
            {"code": "logarithmic", "tau": 5.0, "threshold": 0.0},
            ("encoder.code", "N steps", "threshold"),
        ),
        ("latency", None, {"tau": 5.0}, ("encoder.tau", "N steps")),
        ("constant_current", 1.0, {"gain": 2.0}, ("encoder.gain", "constant_current")),
    ],
)
def test_errors_name_the_setting(kind: str, dt: float | None, settings: dict[str, Any], fragments: tuple) -> None:
    with assert_raises((ConfigError, UnknownSettingError), *fragments):
        build(kind, dt, **settings)


@pytest.fixture(scope="module")
def norse() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("norse.torch")


@pytest.fixture(scope="module")
def spikegen() -> Any:
    return pytest.importorskip("snntorch.spikegen")


@pytest.mark.peers
def test_poisson_is_norses_with_the_same_draws(norse: Any) -> None:
    x = torch.rand(3, 50)
    ours = Poisson(2.0, max_rate_hz=150.0, seed=11)(x, T)
    torch.manual_seed(11)
    assert torch.equal(ours, norse.PoissonEncoder(T, f_max=150, dt=0.002)(x))


@pytest.mark.peers
def test_poisson_without_a_rate_has_the_statistics_of_snntorchs_rate(spikegen: Any) -> None:
    x = torch.tensor([0.0, 0.2, 0.9, 1.0])
    ours, theirs = Poisson(seed=1)(x, 20000).mean(0), spikegen.rate(x, num_steps=20000).mean(0)
    assert ((ours - theirs).abs() <= 5 * (2 * x * (1 - x) / 20000).sqrt()).all()


@pytest.mark.peers
def test_constant_current_into_a_lif_is_norses_encoder(norse: Any) -> None:
    x = torch.rand(4, 30) * 5
    encoder = norse.ConstantCurrentLIFEncoder(60, p=norse.LIFParameters(tau_mem_inv=torch.tensor(100.0)), dt=0.001)
    lif = LIF(1.0, tau_mem=10.0, decay="euler", input_gain="1-a", reset="value", threshold="strict")
    ours, _ = lif(build("constant_current")(x, 60))
    assert ours.sum() > 100
    assert (ours != encoder(x)).float().mean() < 1e-3  # a spike may move by a step where rounding decides


@pytest.mark.peers
def test_logarithmic_latency_is_norses_charging_membrane_within_a_step(norse: Any) -> None:
    x, dt, tau = torch.linspace(0.45, 1.0, 50), 0.001, 0.01
    parameters = norse.LIFParameters(tau_mem_inv=torch.tensor(1 / tau), v_th=torch.tensor(0.4))
    theirs = norse.SpikeLatencyLIFEncoder(40, p=parameters, dt=dt)(x)
    steps = -1 / math.log(1 - dt / tau)  # the time constant that its Euler steps really have
    ours = Latency(code="logarithmic", tau=f"{steps} steps", threshold=0.4)(x, 40)
    for one, other in zip(steps_of(ours), steps_of(theirs), strict=True):
        assert one is not None
        assert other is not None
        assert abs(one - other) <= 1


@pytest.mark.peers
@pytest.mark.parametrize("normalize", [True, False])
def test_linear_latency_is_snntorchs(spikegen: Any, normalize: bool) -> None:
    x = torch.rand(5, 40)
    theirs = spikegen.latency(x, num_steps=T, tau=6.3, normalize=normalize, linear=True, clip=True, bypass=True)
    ours = Latency() if normalize else Latency(tau="6.3 steps")
    assert torch.equal(ours(x, T), theirs)


@pytest.mark.peers
def test_logarithmic_latency_is_snntorchs(spikegen: Any) -> None:
    x = torch.rand(5, 40)
    theirs = spikegen.latency(x, num_steps=T, tau=5, threshold=0.3, clip=True, bypass=True)
    assert torch.equal(Latency(code="logarithmic", tau="5 steps", threshold=0.3)(x, T), theirs)


@pytest.mark.peers
@pytest.mark.parametrize("before", ["zero", "first"])
@pytest.mark.parametrize("off_spikes", [True, False])
def test_delta_is_snntorchs(spikegen: Any, before: Any, off_spikes: bool) -> None:
    x = torch.randn(T, 3, 20)
    theirs = spikegen.delta(x, threshold=0.7, padding=before == "first", off_spike=off_spikes)
    assert torch.equal(Delta(threshold=0.7, before=before, off_spikes=off_spikes)(x), theirs)
