"""The memory of tensors as operations make and drop them: how much there is, and how much there was at most."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map_only

_ATEN = torch.ops.aten
_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


class Ledger(TorchDispatchMode):
    """Within it, each new piece of memory of a tensor is added, and taken off when the last tensor in it is gone.

    What an operation needs inside itself is not seen. Tensors without memory (`meta`) count with what they would need,
    and lie as they would on a CPU.

    Attributes:
        live: Bytes now.
        peak: Bytes at most.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # True has PyTorch import its compiler, which takes longer than all else here

    def add(self, tensors: Iterable[Tensor]) -> int:
        """Add the memory of tensors, if it is not known yet, and return the bytes that are new."""
        before = self.live
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self._known:
                self._known.add(key)
                self.live += size
                weakref.finalize(storage, self._drop, key, size)
        self.peak = max(self.peak, self.live)
        return self.live - before

    def _drop(self, key: int, size: int) -> None:
        self._known.remove(key)
        self.live -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and add what it returns."""
        if func is _ATEN.equal.default and args[0].is_meta:
            return True  # there are no values that could differ
        made = func(*args, **(kwargs or {}))
        if func in (_ATEN.convolution.default, _ATEN.convolution_backward.default) and args[0].is_meta:
            made = tree_map_only(Tensor, _lying_as_on_cpu(args), made)
        self.add(part for part in tree_iter(made) if isinstance(part, Tensor))
        return made


def _lying_as_on_cpu(convolved: tuple[Any, ...]) -> Callable[[Tensor], Tensor]:
    """Return what brings results of a convolution of these arguments into the order in memory that a CPU gives them."""
    dims = convolved[0].dim()
    order = _FORMATS.get(dims)
    parts = (part for part in convolved[:3] if isinstance(part, Tensor) and part.dim() == dims)
    if order is None or not any(part.is_contiguous(memory_format=order) for part in parts):
        return lambda made: made
    return lambda made: made.contiguous(memory_format=order) if made.dim() == dims else made
