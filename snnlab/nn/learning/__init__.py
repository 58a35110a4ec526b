"""Learning rules; this import registers all of them."""

from __future__ import annotations

from snnlab.kernels.reference import detached as detached
from snnlab.nn.learning.bptt import BPTT as BPTT
from snnlab.nn.learning.eligibility_rules import OSTL as OSTL, DiagonalRTRL as DiagonalRTRL, EProp as EProp
from snnlab.nn.learning.fptt import FPTT as FPTT
from snnlab.nn.learning.ottt import OTTT as OTTT
from snnlab.nn.learning.rule import (
    RULES as RULES,
    BatchResult as BatchResult,
    ForwardRule as ForwardRule,
    Gradients as Gradients,
    LearningRule as LearningRule,
    Piece as Piece,
    RuleContext as RuleContext,
    Task as Task,
    bind_rule as bind_rule,
)
from snnlab.nn.learning.sltt import SLTT as SLTT
from snnlab.nn.learning.stdp import STDP as STDP
