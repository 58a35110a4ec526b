"""The spike and the gradients that stand in for its derivative.

Every formula is given by its peak and its half width at half maximum, so that one can be exchanged for another
without changing how far from the threshold a neuron still learns.
"""

from snnlab.nn.surrogate.base import SURROGATES as SURROGATES
from snnlab.nn.surrogate.base import Size as Size
from snnlab.nn.surrogate.base import Surrogate as Surrogate
from snnlab.nn.surrogate.base import as_surrogate as as_surrogate
from snnlab.nn.surrogate.gaussians import Erfc as Erfc
from snnlab.nn.surrogate.gaussians import Gaussian as Gaussian
from snnlab.nn.surrogate.gaussians import MultiGaussian as MultiGaussian
from snnlab.nn.surrogate.library import LibrarySurrogate as LibrarySurrogate
from snnlab.nn.surrogate.pieces import Exponential as Exponential
from snnlab.nn.surrogate.pieces import Rectangular as Rectangular
from snnlab.nn.surrogate.pieces import StraightThrough as StraightThrough
from snnlab.nn.surrogate.pieces import Triangle as Triangle
from snnlab.nn.surrogate.sigmoids import Atan as Atan
from snnlab.nn.surrogate.sigmoids import Circ as Circ
from snnlab.nn.surrogate.sigmoids import Sigmoid as Sigmoid
from snnlab.nn.surrogate.sigmoids import SuperSpike as SuperSpike
from snnlab.nn.surrogate.sigmoids import Tanh as Tanh
from snnlab.nn.surrogate.spike import spike as spike
