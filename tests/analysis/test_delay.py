"""Why an output is late: Norse's introduction, in which nothing comes out before step 19."""

from __future__ import annotations

from collections.abc import Callable

import torch

from snnlab.analysis.findings import delay_notes, findings
from snnlab.analysis.layer_statistics import Vitals
from snnlab.config.compose import compose_once
from snnlab.nn import build_network

from ..refusals import assert_says
from .test_findings import layer, silent, vitals

Measured = Callable[..., Vitals]


def test_the_introductions_network_waits_for_its_filters_and_a_layer_for_the_one_before(measured: Measured):
    torch.manual_seed(0)
    images = torch.randn(8, 3, 28, 28)
    experiment, _ = compose_once(["experiment=norse_intro"], None)
    network = build_network(experiment.model["layers"], in_shape=(3, 28, 28), dt=1.0).network
    vitals_ = measured(network, images.expand(32, *images.shape), dt=1.0)
    assert not findings(vitals_)
    head, first, second, last = delay_notes(vitals_)
    assert_says(head, "step 19 of 32")
    assert_says(first, "lif1", f"step {vitals_.layer('lif1').first}")
    assert_says(first, "tau_mem of 10", "tau_syn of 5 steps")
    waits = 19 - (vitals_.layer("lif1").first or 0)
    assert_says(second, "lif2", "step 19", waits, 1.04)
    assert_says(last, "out", "same step")


def test_an_output_in_time_needs_no_words():
    assert delay_notes(vitals(layer("lif1"), layer("readout", per_step=None))) == []


def test_a_silent_layer_is_why_nothing_comes_out_and_when_training_wakes_it_is_said():
    quiet = vitals(layer("lif1"), silent("lif2", 0.5)._replace(first=None), wakes={"lif2": 1})
    head, _, second = delay_notes(quiet)
    assert_says(head, "nothing", "batch")
    assert_says(second, 0.5, "1 step")
