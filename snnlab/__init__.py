"""snnlab: train spiking neural networks on event-camera data, described in YAML.

`snnlab.nn` is plain PyTorch and usable on its own; `train` runs a whole experiment, `load` opens a run that it left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnlab.commands.loading import load
    from snnlab.commands.train import train

__version__ = "0.1.0"
__all__ = ["__version__", "load", "train"]


def __getattr__(name: str) -> Any:
    """Import `train` and `load` when first asked for, so that `import snnlab.nn` stays free of Hydra and Lightning."""
    if name == "train":
        from snnlab.commands.train import train

        return train
    if name == "load":
        from snnlab.commands.loading import load

        return load
    raise AttributeError(f"module 'snnlab' has no attribute '{name}'")
