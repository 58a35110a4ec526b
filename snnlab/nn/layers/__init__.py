"""Layers that do not spike, one file per family; importing this package registers them."""

from snnlab.nn.layers import conv as conv
from snnlab.nn.layers.attention_product import AttentionProduct as AttentionProduct
from snnlab.nn.layers.delayed import DelayedConnections as DelayedConnections
from snnlab.nn.layers.dense import Voting as Voting, flatten as flatten, linear as linear
from snnlab.nn.layers.dropout import Dropout as Dropout, DropoutState as DropoutState
from snnlab.nn.layers.elementwise import (
    Delay as Delay,
    LearnedDelay as LearnedDelay,
    Scale as Scale,
    Threshold as Threshold,
)
from snnlab.nn.layers.norm import (
    BatchNorm as BatchNorm,
    PerStepBatchNorm as PerStepBatchNorm,
    PerStepState as PerStepState,
)
from snnlab.nn.layers.pool import SumPool as SumPool
from snnlab.nn.layers.rnn import GRU as GRU, LSTM as LSTM, GRUState as GRUState, LSTMState as LSTMState
