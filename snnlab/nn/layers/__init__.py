"""Layers that do not spike, one file a family; importing this registers them all."""

from snnlab.nn.layers import conv as conv
from snnlab.nn.layers.dense import Voting as Voting
from snnlab.nn.layers.dense import flatten as flatten
from snnlab.nn.layers.dense import linear as linear
from snnlab.nn.layers.dropout import Dropout as Dropout
from snnlab.nn.layers.dropout import DropoutState as DropoutState
from snnlab.nn.layers.norm import BatchNorm as BatchNorm
from snnlab.nn.layers.norm import PerStepBatchNorm as PerStepBatchNorm
from snnlab.nn.layers.norm import PerStepState as PerStepState
from snnlab.nn.layers.pool import SumPool as SumPool
from snnlab.nn.layers.rnn import GRU as GRU
from snnlab.nn.layers.rnn import LSTM as LSTM
from snnlab.nn.layers.rnn import GRUState as GRUState
from snnlab.nn.layers.rnn import LSTMState as LSTMState
