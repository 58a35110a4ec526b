"""snnlab: train spiking neural networks on event-camera data, described in YAML.

`snnlab.nn` is plain PyTorch and usable on its own. `train` runs an experiment, `load` opens a recorded run, `Session`
builds the objects of an experiment.
"""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnlab import nn
    from snnlab.cli.train import train
    from snnlab.session import Session
    from snnlab.session.loading import load
    from snnlab.streaming.session.open_stream import stream

# torchmetrics imports ONNX Runtime where it is installed, and its official builds collect data at their import, keep an
# identifier in the folder of temporary files and send both, unless this is set before. A value of the user's stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = ["Session", "__version__", "load", "nn", "stream", "train"]


# Names that are imported at their first use, and their modules.
_LAZY_IMPORTS = {
    "Session": "snnlab.session",
    "load": "snnlab.session.loading",
    "stream": "snnlab.streaming.session.open_stream",
    "train": "snnlab.cli.train",
}


def __dir__() -> list[str]:
    """Return the names for completion, lazy imports included."""
    return sorted({*__all__, *(name for name, value in globals().items() if isinstance(value, ModuleType))})


def __getattr__(name: str) -> Any:
    """Import a name at its first use, so that `import snnlab.nn` stays free of Hydra and Lightning."""
    if name == "nn":
        return import_module("snnlab.nn")
    if name in _LAZY_IMPORTS:
        return getattr(import_module(_LAZY_IMPORTS[name]), name)
    raise AttributeError(f"module 'snnlab' has no attribute '{name}'")
