"""Pictures of a recording and of what a network makes of it: from arrays to matplotlib figures, one file a picture.

Importing it imports matplotlib.
"""

from snnlab.record.pictures.album import Seen as Seen
from snnlab.record.pictures.album import draw_answer as draw_answer
from snnlab.record.pictures.album import draw_recording as draw_recording
from snnlab.record.pictures.answers import draw_readout as draw_readout
from snnlab.record.pictures.layers import draw_membranes as draw_membranes
from snnlab.record.pictures.layers import draw_raster as draw_raster
from snnlab.record.pictures.layers import draw_rates as draw_rates
from snnlab.record.pictures.recordings import draw_event_times as draw_event_times
from snnlab.record.pictures.recordings import draw_events as draw_events
from snnlab.record.pictures.style import default_style as default_style
from snnlab.record.pictures.style import render as render
