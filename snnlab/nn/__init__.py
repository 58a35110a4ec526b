"""Spiking layers and networks in plain PyTorch: time first, state explicit, no Hydra, Lightning or tonic.

This module exports the class or function of each type that a YAML can name: layers, neurons, surrogate gradients,
encoders, initializations, losses. `LAYERS` and the other registries hold them by their YAML names.
"""

from snnlab.memory import keep_heap as keep_heap
from snnlab.nn import blocks as blocks, layers as layers, losses as losses, neurons as neurons, surrogate as surrogate
from snnlab.nn.blocks.attention import (
    KVMask as KVMask,
    QKMask as QKMask,
    kv_mask as kv_mask,
    qk_mask as qk_mask,
)
from snnlab.nn.blocks.branches import (
    Parallel as Parallel,
    Residual as Residual,
    parallel as parallel,
    repeat as repeat,
    residual as residual,
    sequential as sequential,
)
from snnlab.nn.blocks.graph import Graph as Graph, graph as graph
from snnlab.nn.blocks.loop import (
    FeedbackState as FeedbackState,
    Loop as Loop,
    LoopFeedback as LoopFeedback,
    loop as loop,
)
from snnlab.nn.encoders import (
    ENCODERS as ENCODERS,
    ConstantCurrent as ConstantCurrent,
    Delta as Delta,
    Latency as Latency,
    Poisson as Poisson,
)
from snnlab.nn.init import (
    INITS as INITS,
    FluctuationDriven as FluctuationDriven,
    Normal as Normal,
    VariancePreserving as VariancePreserving,
    XavierUniform as XavierUniform,
)
from snnlab.nn.integer_targets import (
    INTEGER_TARGETS as INTEGER_TARGETS,
    Int4 as Int4,
    Int8 as Int8,
    Loihi2 as Loihi2,
    Speck as Speck,
)
from snnlab.nn.layer import LAYERS as LAYERS, TemporalLayer as TemporalLayer
from snnlab.nn.layers.attention_product import (
    AttentionProduct as AttentionProduct,
)
from snnlab.nn.layers.conv import (
    conv1d as conv1d,
    conv2d as conv2d,
    conv3d as conv3d,
    conv_transpose1d as conv_transpose1d,
    conv_transpose2d as conv_transpose2d,
    conv_transpose3d as conv_transpose3d,
)
from snnlab.nn.layers.delayed import DelayedConnections as DelayedConnections
from snnlab.nn.layers.dense import (
    Voting as Voting,
    flatten as flatten,
    gelu as gelu,
    identity as identity,
    leaky_relu as leaky_relu,
    linear as linear,
    relu as relu,
    sigmoid as sigmoid,
    tanh as tanh,
)
from snnlab.nn.layers.dropout import Dropout as Dropout
from snnlab.nn.layers.elementwise import (
    Delay as Delay,
    LearnedDelay as LearnedDelay,
    Scale as Scale,
    Threshold as Threshold,
    delay as delay,
)
from snnlab.nn.layers.norm import (
    BatchNorm as BatchNorm,
    PerStepBatchNorm as PerStepBatchNorm,
    batch_norm as batch_norm,
    group_norm as group_norm,
    layer_norm as layer_norm,
)
from snnlab.nn.layers.pool import (
    SumPool as SumPool,
    adaptive_avg_pool as adaptive_avg_pool,
    adaptive_max_pool as adaptive_max_pool,
    avg_pool as avg_pool,
    max_pool as max_pool,
    sum_pool as sum_pool,
)
from snnlab.nn.layers.rnn import GRU as GRU, LSTM as LSTM, gru as gru, lstm as lstm
from snnlab.nn.losses import (
    LOSSES as LOSSES,
    REGULARIZERS as REGULARIZERS,
    CountError as CountError,
    CrossEntropy as CrossEntropy,
    FirstSpikeError as FirstSpikeError,
    Loss as Loss,
    MembraneBand as MembraneBand,
    RateBand as RateBand,
    RateError as RateError,
    RegularizedLoss as RegularizedLoss,
    Regularizer as Regularizer,
    SeriesSquaredError as SeriesSquaredError,
    SpikeBudget as SpikeBudget,
    Spikes as Spikes,
    SquaredError as SquaredError,
    StepCrossEntropy as StepCrossEntropy,
    SynapticOperations as SynapticOperations,
    TemporalEfficientTraining as TemporalEfficientTraining,
    VanRossum as VanRossum,
    Weights as Weights,
    build_loss as build_loss,
)
from snnlab.nn.network import (
    BuiltNetwork as BuiltNetwork,
    Network as Network,
    build_network as build_network,
    from_nir as from_nir,
)
from snnlab.nn.neurons import (
    ALIF as ALIF,
    BRF as BRF,
    GLIF as GLIF,
    IAF as IAF,
    KLIF as KLIF,
    LI as LI,
    LIF as LIF,
    LSNN as LSNN,
    NEURONS as NEURONS,
    PSN as PSN,
    TCLIF as TCLIF,
    TSLIF as TSLIF,
    AdEx as AdEx,
    AdLIF as AdLIF,
    CobaLIF as CobaLIF,
    CubaLI as CubaLI,
    CubaLIF as CubaLIF,
    CubaLIFState as CubaLIFState,
    EFAdLIF as EFAdLIF,
    Integrator as Integrator,
    Izhikevich as Izhikevich,
    LIFEx as LIFEx,
    LIFRefrac as LIFRefrac,
    LIFState as LIFState,
    LIState as LIState,
    Loihi2LIF as Loihi2LIF,
    MaskedPSN as MaskedPSN,
    Neuron as Neuron,
    Recurrent as Recurrent,
    ResonateAndFire as ResonateAndFire,
    SlidingPSN as SlidingPSN,
    SnntorchAlpha as SnntorchAlpha,
    TsodyksMarkram as TsodyksMarkram,
    VanillaRF as VanillaRF,
)
from snnlab.nn.surrogate import (
    SURROGATES as SURROGATES,
    Atan as Atan,
    Circ as Circ,
    DoubleGaussian as DoubleGaussian,
    Exponential as Exponential,
    Gaussian as Gaussian,
    MultiGaussian as MultiGaussian,
    Rectangular as Rectangular,
    Sigmoid as Sigmoid,
    StraightThrough as StraightThrough,
    SuperSpike as SuperSpike,
    Surrogate as Surrogate,
    Triangle as Triangle,
)
