"""Losses and regularisers; importing this registers them all."""

from snnlab.training.losses.contract import LOSSES as LOSSES
from snnlab.training.losses.contract import REGULARISERS as REGULARISERS
from snnlab.training.losses.contract import Loss as Loss
from snnlab.training.losses.contract import Part as Part
from snnlab.training.losses.contract import Regulariser as Regulariser
from snnlab.training.losses.contract import Task as Task
from snnlab.training.losses.cross_entropy import CrossEntropy as CrossEntropy
from snnlab.training.losses.cross_entropy import OverTime as OverTime
from snnlab.training.losses.cross_entropy import StepCrossEntropy as StepCrossEntropy
from snnlab.training.losses.cross_entropy import TemporalEfficientTraining as TemporalEfficientTraining
from snnlab.training.losses.first_spike import FirstSpikeError as FirstSpikeError
from snnlab.training.losses.membrane_band import MembraneBand as MembraneBand
from snnlab.training.losses.parts import WeightedParts as WeightedParts
from snnlab.training.losses.parts import build_loss as build_loss
from snnlab.training.losses.parts import check_takes as check_takes
from snnlab.training.losses.rate_band import RateBand as RateBand
from snnlab.training.losses.spike_goals import CountError as CountError
from snnlab.training.losses.spike_goals import RateError as RateError
from snnlab.training.losses.spikes import SpikeBudget as SpikeBudget
from snnlab.training.losses.spikes import Spikes as Spikes
from snnlab.training.losses.spikes import SynapticOperations as SynapticOperations
from snnlab.training.losses.values import SquaredError as SquaredError
from snnlab.training.losses.values import ValueOverTime as ValueOverTime
from snnlab.training.losses.van_rossum import VanRossum as VanRossum
from snnlab.training.losses.weights import Weights as Weights
