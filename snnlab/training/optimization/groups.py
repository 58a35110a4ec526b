"""Parameters that the optimizer treats otherwise than the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn
from torch.optim import Optimizer

from snnlab.errors import ConfigError, located
from snnlab.training.optimization.parameters import kinds_of, matches, require_match

DECAY = "weight_decay"
# Behind the name of a group's part that does not decay.
_NO_DECAY = ", no decay"


class Group(NamedTuple):
    """Parameters with settings of their own.

    Attributes:
        name: What it is called.
        match: Which parameters are meant: kinds, layers, names or patterns.
        settings: Settings of the optimizer that are different for them.
    """

    name: str
    match: Sequence[str]
    settings: Mapping[str, Any]


class GroupedOptimizer(NamedTuple):
    """Makes an optimizer for a network; each parameter goes to the first group that means it, else to the rest.

    Attributes:
        make: From parameters, or groups of them, to the optimizer.
        groups: The groups, in order.
        decays: What weight decay is for, where a group does not say how much it has; None: everything.
    """

    make: Callable[[Iterable[Any]], Optimizer]
    groups: Sequence[Group] = ()
    decays: Sequence[str] | None = None

    def __call__(self, network: nn.Module) -> Optimizer:
        """Return the optimizer of those parameters that are trained.

        Raises:
            ValueError: starting with the group that nothing belongs to.
        """
        trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
        if not self.groups and self.decays is None:
            return self.make(list(trained.values()))
        parts = [part for part in self.parts(network) if part["params"]]
        if len(parts) == 1 and not self.groups:
            return self.make(parts[0]["params"])
        return self.make(parts)

    def parts(self, network: nn.Module) -> list[dict[str, Any]]:
        """Return what the optimizer is given: the rest first, whose rate is the one that is logged.

        Raises:
            ValueError: starting with the group that nothing belongs to.
        """
        trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
        kinds = {name: of for name, of in kinds_of(network).items() if name in trained}
        left = list(trained)
        parts = []
        for group in self.groups:
            with located(f"groups.{group.name}"):
                require_match(group.match, kinds)
            own = [name for name in left if matches(name, kinds[name], group.match)]
            if not own:
                raise ConfigError(f"groups.{group.name}", "all that it means is in the groups before it")
            left = [name for name in left if name not in own]
            parts.append((group.name, own, group.settings))
        made = []
        for label, names, settings in [("rest", left, {}), *parts]:
            decays = self._decaying(names, settings, kinds)
            made.append({"params": [trained[n] for n in names if n in decays], **settings, "name": label})
            spared = [trained[n] for n in names if n not in decays]
            made.append({"params": spared, **settings, DECAY: 0.0, "name": f"{label}{_NO_DECAY}"})
        return made

    def _decaying(self, names: Iterable[str], settings: Mapping[str, Any], kinds: Any) -> set[str]:
        if self.decays is None or DECAY in settings:
            return set(names)
        return {name for name in names if matches(name, kinds[name], self.decays)}


def rates(groups: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return what a log says of an optimizer's learning rates: `lr`, the first group's, and of several `lr/NAME`.

    Args:
        groups: What the optimizer has; those of one name differ in their weight decay alone.
    """
    named = {group.get("name", "").removesuffix(_NO_DECAY): float(group["lr"]) for group in groups}
    each = {f"lr/{name}": rate for name, rate in named.items() if name} if len(named) > 1 else {}
    return {"lr": float(groups[0]["lr"]), **each}
