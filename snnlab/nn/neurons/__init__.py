"""Neurons: one file each, all temporal layers, registered by name. A file that is put here is found by itself."""

import importlib
import pkgutil

from snnlab.nn.neurons.adlif import AdLIF as AdLIF
from snnlab.nn.neurons.adlif import AdLIFState as AdLIFState
from snnlab.nn.neurons.alif import ALIF as ALIF
from snnlab.nn.neurons.alif import ALIFState as ALIFState
from snnlab.nn.neurons.base import Neuron as Neuron
from snnlab.nn.neurons.cuba_li import CubaLI as CubaLI
from snnlab.nn.neurons.cuba_li import CubaLIState as CubaLIState
from snnlab.nn.neurons.cuba_lif import CubaLIF as CubaLIF
from snnlab.nn.neurons.cuba_lif import CubaLIFState as CubaLIFState
from snnlab.nn.neurons.iaf import IAF as IAF
from snnlab.nn.neurons.iaf import IAFState as IAFState
from snnlab.nn.neurons.lava_cuba import LavaCuba as LavaCuba
from snnlab.nn.neurons.lava_cuba import LavaCubaState as LavaCubaState
from snnlab.nn.neurons.li import LI as LI
from snnlab.nn.neurons.li import LIState as LIState
from snnlab.nn.neurons.lif import LIF as LIF
from snnlab.nn.neurons.lif import LIFState as LIFState
from snnlab.nn.neurons.lsnn import LSNN as LSNN
from snnlab.nn.neurons.lsnn import LSNNState as LSNNState
from snnlab.nn.neurons.recurrent import Recurrent as Recurrent
from snnlab.nn.neurons.recurrent import RecurrentState as RecurrentState
from snnlab.nn.neurons.register import NEURONS as NEURONS
from snnlab.nn.neurons.sinabs_lif import SinabsLIF as SinabsLIF
from snnlab.nn.neurons.sinabs_lif import SinabsLIFState as SinabsLIFState
from snnlab.nn.neurons.snntorch_alpha import SnntorchAlpha as SnntorchAlpha
from snnlab.nn.neurons.snntorch_alpha import SnntorchAlphaState as SnntorchAlphaState

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
