"""Findings: which problems are found, which need a test by training, which are not judged yet."""

from __future__ import annotations

from collections.abc import Callable
from math import exp

import pytest
import torch
from torch import Tensor, nn

from snnlab.analysis.findings import findings, silent_layers_to_test
from snnlab.analysis.layer_statistics import LayerStatistics, NetworkStatistics, SpikeStatistics
from snnlab.nn import LIF, Network
from snnlab.nn.neurons.time_constants import Constant

from ..refusals import assert_text_has
from .conftest import weight_of

Measured = Callable[..., NetworkStatistics]

HEALTHY = SpikeStatistics(
    v_threshold=1.0, max_membrane=2.0, silent=0.5, saturated=0.0, above_two=0.0, surrogate_mean=0.1, width=0.3
)


def layer(
    name: str, *, spikes_per_step: float | None = 0.01, relative_update: float | None = 0.1, tau: float = 2.0, **spiking
) -> LayerStatistics:
    constant = Constant("tau_mem", "ms", 10.0 * tau, tau, exp(-1 / tau), "exact")
    of = None if spikes_per_step is None else HEALTHY._replace(**spiking)
    return LayerStatistics(name, 6, 0.0, 1.0, spikes_per_step, 1, 0.1, 1.0, 0.1, relative_update, (constant,), of)


def statistics(
    *layers: LayerStatistics, events: tuple[float, ...] = (1.0, 1.0), loss: float = 2.0, **more
) -> NetworkStatistics:
    return NetworkStatistics(layers, 10, 4, 10.0, loss, events, 0, 0.1, 0.3, 10.0, **more)


def kinds(found: NetworkStatistics) -> list[tuple[str, str]]:
    return [(finding.kind, finding.layer) for finding in findings(found)]


def silent(name: str, max_membrane: float) -> LayerStatistics:
    return layer(name, spikes_per_step=0.0, max_membrane=max_membrane, silent=1.0)


def test_a_network_that_spikes_and_passes_its_gradient_is_healthy():
    assert not findings(statistics(layer("lif1"), layer("lif2"), layer("readout", spikes_per_step=None)))


def test_a_layer_far_below_its_threshold_is_found_with_its_largest_membrane():
    (finding,) = findings(statistics(layer("lif1"), silent("lif2", 0.02)))
    assert_text_has(finding.text, "lif2", 0.02, "threshold (1)")


def test_a_silent_layer_near_its_threshold_is_tested_by_training():
    network = statistics(layer("lif1"), silent("lif2", 0.5), silent("lif3", 0.0))
    assert not findings(network)
    assert silent_layers_to_test(network) == ["lif2", "lif3"]
    assert not findings(network._replace(spikes_after={"lif2": 3, "lif3": 6}))
    assert kinds(network._replace(spikes_after={"lif2": None, "lif3": None})) == [("silent", "lif2")]
    (finding,) = findings(network._replace(spikes_after={"lif2": 3, "lif3": None}))
    assert finding.layer == "lif3"
    assert_text_has(finding.text, "10 steps")


def test_layers_after_a_silent_layer_are_not_judged_yet():
    assert kinds(statistics(silent("lif1", 0.01), silent("lif2", 0.0))) == [("silent", "lif1")]
    assert not silent_layers_to_test(statistics(silent("lif1", 0.01), silent("lif2", 0.0)))


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ({"tau": 0.1}, "no_memory", ("tau_mem of 1 ms", "0.1 of a step", "10 ms")),
        ({"saturated": 0.4}, "saturated", ("40%",)),
        ({"above_two": 0.5, "max_membrane": 900.0}, "saturated", ("reach 900 thresholds", "50%")),
        ({"surrogate_mean": 1e-5, "width": 0.001}, "narrow", ("0.001 thresholds",)),
        ({"relative_update": 50.0}, "rate", ("changes lif1's weights", "50 times")),
        ({"relative_update": 1e-9}, "rate", ("1e-09",)),
    ],
)
def test_each_problem_is_found(fault: dict[str, float], kind: str, words: tuple):
    (finding,) = findings(statistics(layer("lif1", **fault)))
    assert (finding.kind, finding.layer) == (kind, "lif1")
    assert_text_has(finding.text, *words)


def test_a_channel_without_events_and_empty_frames_are_found():
    (finding,) = findings(statistics(layer("lif1"), events=(0.0, 5.0)))
    assert_text_has(finding.text, "channel p=0", "4 recordings")
    assert kinds(statistics(silent("lif1", 0.0), events=(0.0, 0.0))) == [("input", "")]


def test_an_infinite_gradient_is_found_where_it_begins_on_its_way_from_the_output():
    early, middle, late = layer("lif1"), layer("lif2"), layer("lif3")
    early = early._replace(gradient=float("inf"), weight_gradient=float("nan"))
    assert kinds(statistics(early, middle._replace(weight_gradient=float("inf")), late)) == [("gradient", "lif2")]
    assert kinds(statistics(early, middle, late)) == [("gradient", "lif1")]


def test_a_loss_that_is_no_number_is_found():
    assert kinds(statistics(layer("lif1"), loss=float("nan"))) == [("loss", "")]


@pytest.mark.long
def test_neurons_with_several_spikes_a_step_are_never_saturated(measured: Measured):
    from snnlab.nn import build_network

    x = torch.full((12, 5, 4), 7.0).requires_grad_()
    for spikes, expected in (("one", ["saturated"]), ("several", [])):
        network = build_network({"lif": {"type": "lif", "spikes": spikes}}, in_shape=(4,), dt=10.0).network
        assert [finding.kind for finding in findings(measured(network, x))] == expected


def test_a_measured_network_has_the_same_findings(chain: Network, frames: Tensor, measured: Measured):
    with torch.no_grad():
        weight_of(chain, "fc1").mul_(3)
        weight_of(chain, "fc2").mul_(4)
    assert not findings(measured(chain, frames))
    chain.lif2 = LIF(dt=10.0, v_threshold=500.0)
    assert kinds(measured(chain, frames)) == [("silent", "lif2")]
    chain.fc1 = nn.Linear(4, 6, bias=False)
    nn.init.constant_(chain.fc1.weight, 100.0)
    assert ("saturated", "lif1") in kinds(measured(chain, frames[2:]))


def test_the_learning_rate_is_a_finding_only_without_other_findings():
    assert kinds(statistics(silent("lif1", 0.01), layer("out", spikes_per_step=None, relative_update=50.0))) == [
        ("silent", "lif1")
    ]
