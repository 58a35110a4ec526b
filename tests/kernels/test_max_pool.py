from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from snnlab.errors import SnnlabError
from snnlab.kernels.max_pool import PoolWindows, max_pool

from ..refusals import assert_raises

CASES = [
    PoolWindows((3, 3), (2, 2), (1, 1)),
    PoolWindows((2, 2), (2, 2), (0, 0)),
    PoolWindows((3, 2), (1, 3), (1, 0)),
    PoolWindows((5, 5), (3, 3), (2, 2)),
    PoolWindows((2, 2), (3, 3), (0, 0)),  # cells between the windows
    PoolWindows((16, 16), (16, 16), (8, 8)),
]


def images(dtype: torch.dtype, *, levels: int | None = None) -> Tensor:
    x = torch.randn(3, 5, 17, 20, dtype=dtype, generator=torch.Generator().manual_seed(0))
    x = x if levels is None else (x * levels).round()  # many equal cells
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("windows", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [None, 1])
def test_outputs_and_gradients_equal_torchs(windows: PoolWindows, dtype: torch.dtype, levels: int | None) -> None:
    ours, theirs = (images(dtype, levels=levels).requires_grad_() for _ in range(2))
    y, expected = max_pool(ours, windows), F.max_pool2d(theirs, *windows)
    assert torch.equal(y, expected)
    assert y.is_contiguous(memory_format=torch.channels_last)
    grad = torch.randn(y.shape, dtype=dtype)
    y.backward(grad)
    expected.backward(grad)
    assert ours.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-6)


def test_nan_and_infinite_cells_are_chosen_as_in_torch() -> None:
    x = images(torch.float32)
    x[0, :, 3, 4], x[1] = torch.nan, -torch.inf
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = max_pool(ours, CASES[0]), F.max_pool2d(theirs, *CASES[0])
    torch.testing.assert_close(y, expected, rtol=0, atol=0, equal_nan=True)
    y.sum().backward()
    expected.sum().backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.equal(ours.grad, theirs.grad)


def test_a_byte_for_each_output_is_saved() -> None:
    saved = list[Tensor]()

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = max_pool(images(torch.float32).requires_grad_(), CASES[0])
    assert sum(tensor.nbytes for tensor in saved) == y.numel()


def test_a_second_derivative_is_refused() -> None:
    x = images(torch.float64).requires_grad_()
    with assert_raises(SnnlabError, "", "create_graph"):
        torch.autograd.grad(max_pool(x, CASES[0]).sum(), x, create_graph=True)
