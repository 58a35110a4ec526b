"""Whether what comes out of a network are spikes, and how many there can be."""

from __future__ import annotations

from torch import nn

from snnlab.compat import ConvNd
from snnlab.errors import ConfigError
from snnlab.nn import Neuron, Voting
from snnlab.nn.build import BuiltNetwork
from snnlab.nn.network import Network

# Of spikes, these give spikes again, or parts of them.
_KEEPS = (nn.Flatten, nn.Identity, nn.Unflatten, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, Voting)
_CANNOT = (nn.Linear, ConvNd, nn.RNNBase)


def require_moments(steps: int, what: str) -> None:
    """Raise a ConfigError if there is one step alone, at which all first spikes are."""
    if steps < 2:
        raise ConfigError(
            "", f"{what} tells outputs apart by when they spike, but the data have 1 step", "set data.num_bins"
        )


def require_spikes(built: BuiltNetwork, what: str, instead: str) -> None:
    """Refuse a network whose last layers surely give no spikes; what is not known is found by its values later.

    Args:
        built: The network.
        what: What needs spikes, in words.
        instead: What else could be done.

    Raises:
        ConfigError: naming the layer that gives something else.
    """
    name = _no_spikes(built.network, "")
    if name is not None:
        raise ConfigError(
            "", f"{what}, but model.layers.{name} gives none", f"end the model with a spiking layer, or {instead}"
        )


def spikes_once(network: nn.Module) -> bool:
    """Return whether no neuron spikes more than once in a step."""
    return not any(isinstance(layer, Neuron) and layer.graded for layer in network.modules())


def _no_spikes(network: Network, within: str) -> str | None:
    for name, layer in reversed(list(network.line())):
        if isinstance(layer, _KEEPS):
            continue
        if type(layer) is Network:
            return _no_spikes(layer, f"{within}{name}.layers.")
        silent = isinstance(layer, _CANNOT) or (isinstance(layer, Neuron) and not layer.spiking)
        return f"{within}{name}" if silent else None
    return None
