"""What one step of the training's own optimizer does to the weights in front of each layer."""

from __future__ import annotations

from torch import Tensor

from snnlab.diagnosis.weights import OUTPUT, change, norm, weight_groups
from snnlab.nn import Network


class Update:
    """Looks at the weights and their gradients before a step, and again behind it.

    Args:
        network: The network, with the gradients of a whole batch.
    """

    def __init__(self, network: Network) -> None:
        last = [name for name, _ in network.line()][-1]
        self.groups = {name if name != OUTPUT else last: group for name, group in weight_groups(network).items()}
        self.groups = {name: group for name, group in self.groups.items() if group}
        self.gradients = {
            name: norm(p.grad for p in group if p.grad is not None) for name, group in self.groups.items()
        }
        self.before: dict[str, list[Tensor]] = {
            name: [p.detach().clone() for p in group] for name, group in self.groups.items()
        }

    def scalars(self) -> dict[str, float]:
        """Return, behind the step, norms of weights and gradients, and of the step as a part of the weights."""
        found: dict[str, float] = {}
        for name, group in self.groups.items():
            size = norm(self.before[name])
            found[f"weights/{name}"], found[f"weight_gradient/{name}"] = size, self.gradients[name]
            if size:
                found[f"update/{name}"] = change([p.detach() for p in group], self.before[name]) / size
        return found
