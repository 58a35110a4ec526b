"""snnlab: train spiking neural networks on event-camera data, described in YAML.

`snnlab.nn` is plain PyTorch and usable on its own; `train` runs a whole experiment, `load` opens a run that it left;
`Session` has the objects of an experiment.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnlab import nn
    from snnlab.cli.train import train
    from snnlab.session import Session
    from snnlab.session.loading import load

__version__ = "0.1.0"
__all__ = ["Session", "__version__", "load", "nn", "train"]


# Where is what is imported when it is asked for.
_FOUND_IN = {"Session": "snnlab.session", "load": "snnlab.session.loading", "train": "snnlab.cli.train"}


def __dir__() -> list[str]:
    """Return the names for completion, those that are imported when they are asked for too."""
    return sorted({*__all__, *(name for name, value in globals().items() if isinstance(value, ModuleType))})


def __getattr__(name: str) -> Any:
    """Import what is asked for first, so that `import snnlab.nn` stays free of Hydra and Lightning."""
    if name == "nn":
        return import_module("snnlab.nn")
    if name in _FOUND_IN:
        return getattr(import_module(_FOUND_IN[name]), name)
    raise AttributeError(f"module 'snnlab' has no attribute '{name}'")
