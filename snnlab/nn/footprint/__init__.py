"""How much memory a training step takes, found without taking it."""

from snnlab.nn.footprint.optimizers import Held as Held
from snnlab.nn.footprint.optimizers import held_by as held_by
from snnlab.nn.footprint.step import Footprint as Footprint
from snnlab.nn.footprint.step import footprint as footprint
