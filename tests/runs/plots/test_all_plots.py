from __future__ import annotations

import numpy as np

from snnlab.runs.plots import SpikeRecord, default_style, draw_network_activity, draw_recording, render

from ...refusals import assert_text_has
from .conftest import MakeEvents, words


def test_a_recording_has_a_plot_of_everything_recorded(make_events: MakeEvents) -> None:
    size = (5, 4, 2)
    spikes = {"lif1": np.ones((6, 2, 2)), "block.lif2": np.zeros((6, 3)), "odd": np.zeros((6, 3))}
    membranes = {"lif1": np.zeros((6, 2, 2)), "block.lif2": np.zeros((6, 3)), "readout": np.zeros((6, 2))}
    y, answers = np.zeros((6, 2)), np.zeros(6, int)
    spike_record = SpikeRecord(
        make_events(size, 30, 12.0), size, 12.0, 2.0, 1, y, answers, spikes, membranes, {"lif1": 0.75}
    )
    figures = {**dict(draw_recording(spike_record)), **dict(draw_network_activity(spike_record))}
    assert list(figures) == [
        "events",
        "events_over_time",
        "raster/lif1",
        "membranes/lif1",
        "raster/block.lif2",
        "membranes/block.lif2",
        "raster/odd",
        "readout",
    ]
    assert "threshold 0.75" in words(figures["membranes/lif1"])
    assert "threshold" not in words(figures["membranes/block.lif2"])
    assert all(render(figure).std() > 0 for figure in figures.values())


def test_other_targets_have_their_own_readout_plots(make_events: MakeEvents) -> None:
    size, y = (5, 4, 2), np.zeros((6, 2))
    of = (make_events(size, 30, 12.0), size, 12.0, 2.0)
    values = SpikeRecord(*of, np.array([0.5, 2.0], np.float32), y, y, {}, {}, {})
    labels = SpikeRecord(*of, np.array([0, 0, 1, 1, -100, 0]), y, np.zeros(6, int), {}, {}, {})
    for spike_record, title, readout in (
        (values, "target 0.5, 2: 30 events", "1.25"),
        (labels, "recording: 30 events", "60.0% of 5"),
    ):
        figures = {**dict(draw_recording(spike_record)), **dict(draw_network_activity(spike_record))}
        assert list(figures) == ["events", "events_over_time", "readout"]
        assert title in words(figures["events"])
        assert readout in words(figures["readout"])


def test_classes_and_values_are_called_by_their_names(make_events: MakeEvents) -> None:
    size, y, names = (5, 4, 2), np.eye(2)[[0, 1, 0, 0, 0, 0]], ["wave", "$clap$"]
    of = (make_events(size, 30, 12.0), size, 12.0, 2.0)
    spike_record = SpikeRecord(*of, 1, y, np.zeros(6, int), {}, {}, {}, names)
    labels = SpikeRecord(*of, np.array([0, 0, 1, 1, -100, 0]), y, np.zeros(6, int), {}, {}, {}, names)
    values = SpikeRecord(*of, np.array([0.5, 2.0], np.float32), y, y, {}, {}, {}, names)
    with default_style():
        figures = {**dict(draw_recording(spike_record)), **dict(draw_network_activity(spike_record))}
        assert "class $clap$: 30 events" in words(figures["events"])
        assert_text_has(words(figures["events_over_time"]), "class $clap$")
        said = words(figures["readout"])
        assert_text_has(said, "class $clap$", "wrong", "answer wave", "target $clap$")
        assert "class 1" not in said
        assert "wave\n$clap$" in words(dict(draw_network_activity(labels))["readout"])
        assert "value 0" not in words(dict(draw_network_activity(values))["readout"])
