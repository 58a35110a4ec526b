"""Amount of work of a function, independent of the machine's load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Elements(TorchDispatchMode):
    """Counts the elements of all output tensors of torch's operations."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.total += sum(part.numel() for part in tree_leaves(out) if isinstance(part, Tensor))
        return out


def elements(run: Callable[[], Any]) -> int:
    """Return the number of elements of all tensors that a function computes."""
    with _Elements() as counted:
        run()
    return counted.total
