"""Plots of a recording and of a network's activity and outputs: matplotlib figures from arrays.

Importing it imports matplotlib.
"""

from __future__ import annotations

from snnlab.runs.plots.activity import (
    SpikeRecord as SpikeRecord,
    draw_membranes as draw_membranes,
    draw_network_activity as draw_network_activity,
    draw_raster as draw_raster,
    draw_rates as draw_rates,
    draw_recording as draw_recording,
)
from snnlab.runs.plots.answers import draw_readout as draw_readout
from snnlab.runs.plots.event_plots import draw_event_times as draw_event_times, draw_events as draw_events
from snnlab.runs.plots.style import default_style as default_style, render as render
