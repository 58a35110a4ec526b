"""From packed events to what a network sees: which events, of which step, as what."""

from snnlab.events.framing.framing import Framing as Framing
from snnlab.events.framing.framing import in_pieces as in_pieces
from snnlab.events.framing.kinds import FRAMES as FRAMES
from snnlab.events.framing.kinds import Kind as Kind
from snnlab.events.framing.region import Region as Region
from snnlab.events.framing.steps import Steps as Steps
