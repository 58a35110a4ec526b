"""What a network's answers cost: synaptic operations, membrane updates, sparsity, bytes."""

from snnlab.nn.operations.counting import Operations as Operations
from snnlab.nn.operations.counting import Totals as Totals
from snnlab.nn.operations.counting import connection_sparsity as connection_sparsity
from snnlab.nn.operations.counting import counted as counted
from snnlab.nn.operations.counting import footprint_bytes as footprint_bytes
