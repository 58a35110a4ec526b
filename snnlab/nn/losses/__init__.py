"""Losses and regularizers; this import registers all of them."""

from __future__ import annotations

from snnlab.nn.losses.loss import (
    LOSSES as LOSSES,
    REGULARIZERS as REGULARIZERS,
    Loss as Loss,
    LossContext as LossContext,
    LossTerm as LossTerm,
    RegularizedLoss as RegularizedLoss,
    Regularizer as Regularizer,
    build_loss as build_loss,
    check_supported_targets as check_supported_targets,
)
from snnlab.nn.losses.readout_losses import (
    CrossEntropy as CrossEntropy,
    Readout as Readout,
    SeriesSquaredError as SeriesSquaredError,
    SquaredError as SquaredError,
    StepCrossEntropy as StepCrossEntropy,
    TemporalEfficientTraining as TemporalEfficientTraining,
    ValueReadout as ValueReadout,
)
from snnlab.nn.losses.records import (
    bind_records as bind_records,
    recorded as recorded,
    records_of as records_of,
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
