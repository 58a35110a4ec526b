"""Whether somebody looks at what goes into a layer or comes out of it."""

from __future__ import annotations

from torch import nn
from torch.nn.modules import module as of_all_modules

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_GLOBAL_HOOKS = tuple(f"_global{name}" for name in _HOOKS)


def bare(layer: nn.Module) -> bool:
    """Return whether a layer has no hook, and there is none for all layers."""
    return not any(getattr(layer, name) for name in _HOOKS) and not any(
        getattr(of_all_modules, name) for name in _GLOBAL_HOOKS
    )
