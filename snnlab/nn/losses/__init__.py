"""Losses and regularizers; this import registers all of them."""

from __future__ import annotations

from snnlab.nn.losses.loss import (
    LOSSES as LOSSES,
    REGULARISERS as REGULARISERS,
    Loss as Loss,
    Part as Part,
    Regulariser as Regulariser,
    Task as Task,
    WeightedParts as WeightedParts,
    build_loss as build_loss,
    check_takes as check_takes,
)
from snnlab.nn.losses.readout_losses import (
    CrossEntropy as CrossEntropy,
    Readout as Readout,
    SquaredError as SquaredError,
    StepCrossEntropy as StepCrossEntropy,
    TemporalEfficientTraining as TemporalEfficientTraining,
    ValueReadout as ValueReadout,
)
from snnlab.nn.losses.regularizers import (
    MembraneBand as MembraneBand,
    RateBand as RateBand,
    SpikeBudget as SpikeBudget,
    Spikes as Spikes,
    SynapticOperations as SynapticOperations,
    Weights as Weights,
)
from snnlab.nn.losses.spike_targets import (
    CountError as CountError,
    FirstSpikeError as FirstSpikeError,
    RateError as RateError,
    VanRossum as VanRossum,
)
