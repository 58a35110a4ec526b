"""Reasons for a late output: Norse's introduction, where the output is 0 before step 19."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from snnlab.analysis.findings import delay_notes, findings
from snnlab.analysis.layer_statistics import NetworkStatistics
from snnlab.config.compose import compose_experiment
from snnlab.nn import build_network

from ..refusals import assert_text_has
from .test_findings import layer, silent, statistics

Measured = Callable[..., NetworkStatistics]


@pytest.mark.long
def test_layers_of_the_introductions_network_wait_for_their_filters_and_for_the_layer_before(measured: Measured):
    torch.manual_seed(0)
    images = torch.randn(8, 3, 28, 28)
    experiment, _ = compose_experiment(["experiment=norse_intro"], None)
    network = build_network(experiment.model["layers"], in_shape=(3, 28, 28), dt=1.0).network
    measured_ = measured(network, images.expand(32, *images.shape), dt=1.0)
    assert not findings(measured_)
    head, first, second, last = delay_notes(measured_)
    assert_text_has(head, "step 19 of 32")
    assert_text_has(first, "lif1", f"step {measured_.layer('lif1').first_step}")
    assert_text_has(first, "tau_mem of 10", "tau_syn of 5 steps")
    delay = 19 - (measured_.layer("lif1").first_step or 0)
    assert_text_has(second, "lif2", "step 19", delay, 1.04)
    assert_text_has(last, "out", "same step")


def test_an_output_in_time_has_no_notes():
    assert delay_notes(statistics(layer("lif1"), layer("readout", spikes_per_step=None))) == []


def test_a_silent_layer_is_the_reason_for_no_output_with_the_steps_until_it_spikes():
    silent_output = statistics(layer("lif1"), silent("lif2", 0.5)._replace(first_step=None), spikes_after={"lif2": 1})
    head, _, second = delay_notes(silent_output)
    assert_text_has(head, "0", "batch")
    assert_text_has(second, 0.5, "1 step")
