"""A loss with further parts, each with a weight, and how they are built from the YAML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple

from torch import Tensor, nn

from snnlab.errors import ConfigError, located
from snnlab.events.targets import Targets
from snnlab.intervals import at_least
from snnlab.nn.temporal import Counts
from snnlab.settings import type_problem
from snnlab.training.losses.contract import LOSSES, REGULARISERS, Loss, Part, Task, Valued

_OF: dict[Targets, str] = {"class": "classes", "value": "values", "steps": "labels at each step"}


def check_takes(loss: Part, name: str, targets: Targets, place: str = "loss") -> None:
    """Refuse a loss that is for other targets.

    Args:
        loss: The loss.
        name: Its `type`.
        targets: The data's.
        place: Where it stands.

    Raises:
        ConfigError: naming a loss that is for these targets.
    """
    if targets in loss.takes:
        return
    losses = (other for other in LOSSES if other not in REGULARISERS)
    able = [other for other in losses if targets in getattr(LOSSES.get(other, place), "takes", ())]
    instead = f"{place}{'=' if place == 'loss' else '.type='}{able[0]}"
    more = " or another of them, see snnlab list losses" if len(able) > 1 else ""
    raise ConfigError(place, f"{name} is for {_OF[loss.takes[0]]}, data.targets={targets} needs {instead}{more}")


class Beside(NamedTuple):
    """A part beside the loss: its type, its weight and itself."""

    kind: str
    weight: float
    part: Part


class WeightedParts(Loss):
    """A loss and what is minimised beside it; the loss alone gives the readout.

        loss = loss itself + sum_n weight[n] * part[n]

    Each is logged as it enters this sum.

    Args:
        kind: The loss's `type`, which is its name among the parts.
        loss: The loss itself.
        beside: The parts, by name.
    """

    def __init__(self, kind: str, loss: Loss, beside: Mapping[str, Beside]) -> None:
        super().__init__()
        self.kind, self.main = kind, loss
        self.takes = loss.takes  # pyright: ignore[reportAttributeAccessIssue]
        self.parts = nn.ModuleList(each.part for each in beside.values())
        self._beside = {name: (each.kind, each.weight) for name, each in beside.items()}

    @property
    def names(self) -> tuple[str, ...]:
        return (self.kind, *self._beside)

    def beside(self) -> Iterator[tuple[str, Beside]]:
        """Yield the parts with their names."""
        for (name, (kind, weight)), part in zip(self._beside.items(), self.parts, strict=True):
            assert isinstance(part, Part)
            yield name, Beside(kind, weight, part)

    def check_parts(self, targets: Targets) -> None:
        """Raise a ConfigError for the first part that is for other targets."""
        for name, each in self.beside():
            check_takes(each.part, each.kind, targets, f"loss.parts.{name}")

    def bind(self, task: Task) -> None:
        self.main.bind(task)
        for name, each in self.beside():
            with located(f"parts.{name}"):
                each.part.bind(task)

    def count_classes(self, counts: Tensor) -> None:
        self.main.count_classes(counts)
        for _, each in self.beside():
            each.part.count_classes(counts)

    def labelled(self, targets: Tensor) -> Tensor | None:
        return self.main.labelled(targets)

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        """Return the sum, and what each part adds to it."""
        total = self.main(y, targets, lengths, counts, weight)[0]
        adds = {self.kind: total}
        for name, each in self.beside():
            adds[name] = each.weight * each.part(y, targets, lengths, counts, weight)[0]
            total = total + adds[name]
        return total, adds

    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the loss's readout."""
        return self.main.readout(y, lengths)

    def running(self, y: Tensor) -> Tensor:
        """Return the loss's readouts up to each step."""
        return self.main.running(y)

    def answers(self, y: Tensor) -> Tensor:
        return self.main.answers(y)


def build_loss(node: Mapping[str, Any]) -> Loss:
    """Build the loss that a YAML describes.

    Args:
        node: `type`, the type's settings, and perhaps `parts`: by name, nodes with `type`, `weight` (1 by default) and
            settings; null for none.

    Raises:
        ConfigError: naming the place, if a node is wrong or the loss itself is a regulariser.
    """
    settings = dict(node)
    kind, parts = settings.pop("type", None), settings.pop("parts", None)
    loss = LOSSES.build(kind, settings, "loss")
    if not isinstance(loss, Loss):
        raise ConfigError(
            "loss",
            f"{kind} is a regulariser, which answers nothing",
            f"write it beside a loss, +loss.parts.NAME.type={kind}",
        )
    if problem := type_problem(parts, Mapping[str, Any] | None):
        raise ConfigError("loss.parts", problem, "write {NAME: {type: ...}}")
    built = {str(name): _part(part, f"loss.parts.{name}") for name, part in (parts or {}).items() if part is not None}
    if kind in built:
        raise ConfigError(f"loss.parts.{kind}", "is the name of the loss itself", "give the part another one")
    return WeightedParts(str(kind), loss, built) if built else loss


def _part(node: Any, place: str) -> Beside:
    if not isinstance(node, Mapping):
        raise ConfigError(place, f"expected a mapping such as {{type: rate_band, weight: 0.1}}, got {node!r}")
    settings = dict(node)
    kind, weight = settings.pop("type", None), settings.pop("weight", 1.0)
    if problem := type_problem(weight, Annotated[float, at_least(0)]):
        raise ConfigError(f"{place}.weight", problem)
    return Beside(str(kind), float(weight), LOSSES.build(kind, settings, place))
