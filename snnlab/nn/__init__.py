"""Spiking layers and networks in plain PyTorch: time first, state explicit, no Hydra, Lightning or tonic."""

from snnlab.memory import keep_heap as keep_heap
from snnlab.nn import blocks as blocks
from snnlab.nn import layers as layers
from snnlab.nn import neurons as neurons
from snnlab.nn import surrogate as surrogate
from snnlab.nn.blocks import (
    FeedbackState as FeedbackState,
)
from snnlab.nn.blocks import (
    Loop as Loop,
)
from snnlab.nn.blocks import (
    LoopFeedback as LoopFeedback,
)
from snnlab.nn.blocks import (
    Parallel as Parallel,
)
from snnlab.nn.blocks import (
    Residual as Residual,
)
from snnlab.nn.build import BuiltNetwork as BuiltNetwork
from snnlab.nn.build import build_network as build_network
from snnlab.nn.encoders import ENCODERS as ENCODERS
from snnlab.nn.init import INITS as INITS
from snnlab.nn.layer import LAYERS as LAYERS
from snnlab.nn.layer import TemporalLayer as TemporalLayer
from snnlab.nn.layers import BatchNorm as BatchNorm
from snnlab.nn.layers import Dropout as Dropout
from snnlab.nn.layers import PerStepBatchNorm as PerStepBatchNorm
from snnlab.nn.layers import Voting as Voting
from snnlab.nn.network import Network as Network
from snnlab.nn.neurons import ALIF as ALIF
from snnlab.nn.neurons import IAF as IAF
from snnlab.nn.neurons import LI as LI
from snnlab.nn.neurons import LIF as LIF
from snnlab.nn.neurons import LSNN as LSNN
from snnlab.nn.neurons import NEURONS as NEURONS
from snnlab.nn.neurons import AdLIF as AdLIF
from snnlab.nn.neurons import CubaLI as CubaLI
from snnlab.nn.neurons import CubaLIF as CubaLIF
from snnlab.nn.neurons import CubaLIFState as CubaLIFState
from snnlab.nn.neurons import LavaCuba as LavaCuba
from snnlab.nn.neurons import LIFState as LIFState
from snnlab.nn.neurons import LIState as LIState
from snnlab.nn.neurons import Neuron as Neuron
from snnlab.nn.neurons import Recurrent as Recurrent
from snnlab.nn.neurons import SinabsLIF as SinabsLIF
from snnlab.nn.neurons import SnntorchAlpha as SnntorchAlpha
from snnlab.nn.surrogate import SURROGATES as SURROGATES
from snnlab.nn.surrogate import Atan as Atan
from snnlab.nn.surrogate import Circ as Circ
from snnlab.nn.surrogate import Erfc as Erfc
from snnlab.nn.surrogate import Exponential as Exponential
from snnlab.nn.surrogate import Gaussian as Gaussian
from snnlab.nn.surrogate import MultiGaussian as MultiGaussian
from snnlab.nn.surrogate import Rectangular as Rectangular
from snnlab.nn.surrogate import Sigmoid as Sigmoid
from snnlab.nn.surrogate import StraightThrough as StraightThrough
from snnlab.nn.surrogate import SuperSpike as SuperSpike
from snnlab.nn.surrogate import Surrogate as Surrogate
from snnlab.nn.surrogate import Tanh as Tanh
from snnlab.nn.surrogate import Triangle as Triangle
