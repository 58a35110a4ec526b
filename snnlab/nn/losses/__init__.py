"""Losses and regularisers; importing this registers them all."""

from __future__ import annotations

from snnlab.nn.losses.loss import LOSSES as LOSSES
from snnlab.nn.losses.loss import REGULARISERS as REGULARISERS
from snnlab.nn.losses.loss import Loss as Loss
from snnlab.nn.losses.loss import Part as Part
from snnlab.nn.losses.loss import Regulariser as Regulariser
from snnlab.nn.losses.loss import Task as Task
from snnlab.nn.losses.loss import WeightedParts as WeightedParts
from snnlab.nn.losses.loss import build_loss as build_loss
from snnlab.nn.losses.loss import check_takes as check_takes
from snnlab.nn.losses.readout_losses import CrossEntropy as CrossEntropy
from snnlab.nn.losses.readout_losses import OverTime as OverTime
from snnlab.nn.losses.readout_losses import SquaredError as SquaredError
from snnlab.nn.losses.readout_losses import StepCrossEntropy as StepCrossEntropy
from snnlab.nn.losses.readout_losses import TemporalEfficientTraining as TemporalEfficientTraining
from snnlab.nn.losses.readout_losses import ValueOverTime as ValueOverTime
from snnlab.nn.losses.regularizers import MembraneBand as MembraneBand
from snnlab.nn.losses.regularizers import RateBand as RateBand
from snnlab.nn.losses.regularizers import SpikeBudget as SpikeBudget
from snnlab.nn.losses.regularizers import Spikes as Spikes
from snnlab.nn.losses.regularizers import SynapticOperations as SynapticOperations
from snnlab.nn.losses.regularizers import Weights as Weights
from snnlab.nn.losses.spike_targets import CountError as CountError
from snnlab.nn.losses.spike_targets import FirstSpikeError as FirstSpikeError
from snnlab.nn.losses.spike_targets import RateError as RateError
from snnlab.nn.losses.spike_targets import VanRossum as VanRossum
