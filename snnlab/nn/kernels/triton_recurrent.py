"""Recurrent neurons on a GPU: each step a feedback by PyTorch and a launch of a Triton kernel."""

from __future__ import annotations

from functools import partial

from snnlab.nn.kernels import recurrent
from snnlab.nn.kernels.cells import Cell
from snnlab.nn.kernels.triton_alif import AdaptiveCell
from snnlab.nn.kernels.triton_canonical import CanonicalCell

CELLS: dict[str, type[Cell]] = {"canonical": CanonicalCell, "adaptive": AdaptiveCell}

run = partial(recurrent.run, CELLS)
