"""Neurons: one file each, registered by name, all temporal layers. Every file in this folder is imported."""

import importlib
import pkgutil

from snnlab.nn.neurons.adex import AdEx as AdEx, AdExState as AdExState
from snnlab.nn.neurons.adlif import AdLIF as AdLIF, AdLIFState as AdLIFState
from snnlab.nn.neurons.alif import ALIF as ALIF, ALIFState as ALIFState
from snnlab.nn.neurons.base import Neuron as Neuron
from snnlab.nn.neurons.brf import BRF as BRF, BRFState as BRFState
from snnlab.nn.neurons.coba_lif import CobaLIF as CobaLIF, CobaLIFState as CobaLIFState
from snnlab.nn.neurons.cuba_li import CubaLI as CubaLI, CubaLIState as CubaLIState
from snnlab.nn.neurons.cuba_lif import CubaLIF as CubaLIF, CubaLIFState as CubaLIFState
from snnlab.nn.neurons.ef_adlif import EFAdLIF as EFAdLIF, EFAdLIFState as EFAdLIFState
from snnlab.nn.neurons.glif import GLIF as GLIF, GLIFState as GLIFState
from snnlab.nn.neurons.iaf import IAF as IAF, IAFState as IAFState
from snnlab.nn.neurons.integrator import Integrator as Integrator, IntegratorState as IntegratorState
from snnlab.nn.neurons.izhikevich import Izhikevich as Izhikevich, IzhikevichState as IzhikevichState
from snnlab.nn.neurons.klif import KLIF as KLIF, KLIFState as KLIFState
from snnlab.nn.neurons.li import LI as LI, LIState as LIState
from snnlab.nn.neurons.lif import LIF as LIF, LIFState as LIFState
from snnlab.nn.neurons.lif_ex import LIFEx as LIFEx, LIFExState as LIFExState
from snnlab.nn.neurons.lif_refrac import LIFRefrac as LIFRefrac, LIFRefracState as LIFRefracState
from snnlab.nn.neurons.loihi2 import Loihi2LIF as Loihi2LIF, Loihi2State as Loihi2State
from snnlab.nn.neurons.lsnn import LSNN as LSNN, LSNNState as LSNNState
from snnlab.nn.neurons.masked_psn import MaskedPSN as MaskedPSN, MaskedPSNState as MaskedPSNState
from snnlab.nn.neurons.psn import PSN as PSN, PSNState as PSNState
from snnlab.nn.neurons.recurrent import Recurrent as Recurrent, RecurrentState as RecurrentState
from snnlab.nn.neurons.register import NEURONS as NEURONS
from snnlab.nn.neurons.resonate_and_fire import (
    ResonateAndFire as ResonateAndFire,
    ResonateAndFireState as ResonateAndFireState,
)
from snnlab.nn.neurons.sliding_psn import SlidingPSN as SlidingPSN, SlidingPSNState as SlidingPSNState
from snnlab.nn.neurons.snntorch_alpha import SnntorchAlpha as SnntorchAlpha, SnntorchAlphaState as SnntorchAlphaState
from snnlab.nn.neurons.tc_lif import TCLIF as TCLIF, TCLIFState as TCLIFState
from snnlab.nn.neurons.ts_lif import TSLIF as TSLIF, TSLIFState as TSLIFState
from snnlab.nn.neurons.tsodyks_markram import (
    TsodyksMarkram as TsodyksMarkram,
    TsodyksMarkramState as TsodyksMarkramState,
)
from snnlab.nn.neurons.vanilla_rf import VanillaRF as VanillaRF, VanillaRFState as VanillaRFState

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
