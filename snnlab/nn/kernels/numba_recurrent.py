"""Recurrent neurons whose steps are compiled for CPUs."""

from __future__ import annotations

from functools import partial

from snnlab.nn.kernels import recurrent
from snnlab.nn.kernels.cells import Cell
from snnlab.nn.kernels.numba_alif import AdaptiveCell
from snnlab.nn.kernels.numba_canonical import CanonicalCell

CELLS: dict[str, type[Cell]] = {"canonical": CanonicalCell, "adaptive": AdaptiveCell}

run = partial(recurrent.run, CELLS)
