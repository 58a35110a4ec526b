from __future__ import annotations

import pytest
import torch

from snnlab.memory import is_out_of_memory, out_of_memory_hint

from .refusals import assert_text_has


def test_errors_of_torch_on_a_cpu_and_on_a_gpu_are_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.parametrize(
    ("batch_size", "hint"),
    [
        (32, ("set data.batch_size=16", "data.num_bins=50", "checkpoint_segments=10")),
        (1, ("set data.num_bins=50", "checkpoint_segments=10")),
    ],
)
def test_half_of_the_memory_is_suggested(batch_size: int, hint: tuple) -> None:
    assert_text_has(out_of_memory_hint(batch_size, 100)[1], *hint)
