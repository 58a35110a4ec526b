"""The Triton kernels, run by Triton's interpreter on the CPU where there is no GPU.

Whether a kernel is interpreted is decided once, when its module is imported: ours are where there is no GPU, and what
Triton itself brings is not, for whatever else runs in this process.
"""

from __future__ import annotations

import pytest
import torch

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")

pytest.importorskip("triton", reason="the kernels for GPUs need triton")
with pytest.MonkeyPatch.context() as _patch:
    if not GPU:
        _patch.setenv("TRITON_INTERPRET", "1")
    from snnlab.nn.kernels import triton_alif, triton_cells, triton_cuda, triton_numbers, triton_recurrent

__all__ = [
    "DEVICE",
    "GPU",
    "interpreted",
    "triton_alif",
    "triton_cells",
    "triton_cuda",
    "triton_numbers",
    "triton_recurrent",
]

interpreted = pytest.mark.skipif(GPU, reason="with a GPU the kernels are compiled, and tested by pytest -m gpu")
