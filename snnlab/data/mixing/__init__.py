"""Two training recordings made into one, frame by frame, with both their classes."""

from snnlab.data.mixing import plain as plain
from snnlab.data.mixing.plain import MIXES as MIXES
from snnlab.data.mixing.plain import Mixing as Mixing
from snnlab.data.mixing.plain import build_mixing as build_mixing
