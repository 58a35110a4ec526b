"""Pictures of a recording and of what a network makes of it: from arrays to matplotlib figures, one file a picture.

Importing it imports matplotlib.
"""

from __future__ import annotations

from snnlab.runs.plots.activity import Seen as Seen
from snnlab.runs.plots.activity import draw_answer as draw_answer
from snnlab.runs.plots.activity import draw_membranes as draw_membranes
from snnlab.runs.plots.activity import draw_raster as draw_raster
from snnlab.runs.plots.activity import draw_rates as draw_rates
from snnlab.runs.plots.activity import draw_recording as draw_recording
from snnlab.runs.plots.answers import draw_readout as draw_readout
from snnlab.runs.plots.event_plots import draw_event_times as draw_event_times
from snnlab.runs.plots.event_plots import draw_events as draw_events
from snnlab.runs.plots.style import default_style as default_style
from snnlab.runs.plots.style import render as render
