"""What a loss and a regularizer are, their sum with weights, and weights of classes.

Axes: T steps, B samples, K outputs: classes, or values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError, did_you_mean, located
from snnlab.nn.layer import Counts, valid_steps
from snnlab.nn.network import BuiltNetwork, Shape
from snnlab.registry import Registry
from snnlab.settings import at_least, type_problem
from snnlab.target_kinds import Targets

LOSSES = Registry("loss")
REGULARISERS = Registry("regulariser", within=LOSSES)
Valued = tuple[Tensor, dict[str, Tensor]]


class Task(NamedTuple):
    """What a loss is used for.

    Attributes:
        built: The network and the shapes of its layers.
        in_shape: Its input, of one sample at one step.
        dt: Length of a step, ms; None where steps have no length.
        num_steps: Steps of the longest recording.
        num_classes: Number of classes, or of values.
    """

    built: BuiltNetwork
    in_shape: Shape
    dt: float | None
    num_steps: int
    num_classes: int


class Part(nn.Module, ABC):
    """A term of what is minimised.

    Shape:
        y: `[T, B, K]`; targets: classes `[B]`, values `[B, K]`, or labels of steps `[T, B]`; lengths: `[B]`; counts:
        see `TemporalLayer`; weight: `[B]`.
    """

    takes: ClassVar[tuple[Targets, ...]] = ("class", "value", "steps")
    """What the targets may be."""

    @property
    def names(self) -> tuple[str, ...]:
        """What its parts are called, where there are several."""
        return ()

    def bind(self, task: Task) -> None:
        """Learn, before the first batch, what the loss is used for.

        Raises:
            ConfigError: starting with the setting that does not go with it.
            ValueError: if it cannot be used for this at all.
        """

    def count_classes(self, counts: Tensor) -> None:
        """Learn how many training recordings there are of each class, `[K]`."""

    def labelled(self, targets: Tensor) -> Tensor | None:
        """Return over how many labelled steps the value is a mean; None where it is one over the samples.

        Several processes, and several batches a step, need it to learn what one large batch would teach.
        """
        return None

    @abstractmethod
    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        """Return the loss and its parts by name: means over the samples of each one's own, times its weight."""


class Loss(Part):
    """What a network is trained for; it knows too how the steps become an answer. See `Part`."""

    takes: ClassVar[tuple[Targets, ...]] = ("class",)

    @abstractmethod
    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return what is compared with the targets: `[B, K]`, or `[T, B, K]` where steps have targets of their own.

        Of classes, the largest of K is the answer; values are the answer themselves.
        """

    def running(self, y: Tensor) -> Tensor:
        """Return what `readout` would be if the recording had ended at each step, `[T, B, K]`.

        This here reads out each beginning anew; a loss that carries its sums from step to step says so in its place.
        """
        steps = [torch.full((y.shape[1],), t, device=y.device) for t in range(1, len(y) + 1)]
        return torch.stack([self.readout(y[:t], length) for t, length in enumerate(steps, 1)])

    @abstractmethod
    def answers(self, y: Tensor) -> Tensor:
        """Return the answer at each step from what was seen until then: classes `[T, B]`, or values `[T, B, K]`."""


class Regulariser(Part):
    """What a network is kept from while it is trained for something else; a part beside a loss. See `Part`."""


def within_lengths(each: Tensor, lengths: Tensor) -> Tensor:
    """Return `each`, `[T, B, ...]`, with zeros past each sample's end, whatever stood there."""
    valid = valid_steps(lengths, each.shape[0], each)
    return each if valid is None else torch.where(valid, each, 0)


def mean_over_steps(each: Tensor, lengths: Tensor) -> Tensor:
    """Return each sample's mean over its valid steps, `[T, B]` to `[B]`."""
    return within_lengths(each, lengths).sum(0) / lengths


def mean_over_samples(each: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean of `each`, `[B]`, times `weight`, `[B]`."""
    return (each if weight is None else each * weight).mean()


def chosen(layers: Sequence[str] | None, known: Collection[str], what: str) -> list[str]:
    """Return the layers that are named; a block's name stands for all within it.

    Args:
        layers: Names, or None for all.
        known: All of them, dotted within blocks.
        what: What they are, such as `spiking layer`.

    Raises:
        ConfigError: if there are none, or none of that name.
    """
    if not known:
        raise ConfigError("layers", f"the network has no {what}, so there is nothing to act on")
    found: dict[str, None] = {}
    for name in known if layers is None else layers:
        these = [other for other in known if other == name or other.startswith(f"{name}.")]
        if not these:
            near = did_you_mean(name, known)
            raise ConfigError("layers", f"there is no {what} '{name}'", near, () if near else known)
        found |= dict.fromkeys(these)
    if not found:
        raise ConfigError("layers", "names no layer", "leave it out for all")
    return list(found)


ClassWeight = Sequence[float] | Literal["balanced"] | None


class ClassWeights(nn.Module):
    """A weight for each class: given, or such that all classes count alike.

        balanced: weight[k] = recordings / (classes * recordings of k), over the training recordings

    A batch's loss stays the mean over its recordings of weight times loss; torch divides by the sum of the weights in
    the batch instead, so that a recording would count more or less with the company it is in.

    Args:
        given: A list, one weight a class, each >= 0; `balanced`; None weighs all alike.

    Raises:
        ConfigError: if a weight is negative, or all are 0.
    """

    weights: Tensor | None

    def __init__(self, given: ClassWeight) -> None:
        super().__init__()
        self.balanced = given == "balanced"
        weights = None if given is None or isinstance(given, str) else torch.tensor([float(w) for w in given])
        if weights is not None and (not weights.numel() or bool((weights < 0).any()) or not bool(weights.any())):
            raise ConfigError("class_weight", f"weights are >= 0 and not all 0, got {given}")
        # What comes from the data comes from them again; a checkpoint need not hold it.
        self.register_buffer("weights", weights, persistent=False)

    def bind(self, num_classes: int) -> None:
        """Raise a ConfigError if there are not as many weights as classes."""
        if self.weights is not None and not self.balanced and len(self.weights) != num_classes:
            raise ConfigError("class_weight", f"has {len(self.weights)} weights, but there are {num_classes} classes")

    def count_classes(self, counts: Tensor) -> None:
        """Take the numbers of the training recordings, `[K]`, where all classes are to count alike."""
        if self.balanced:
            many = counts.to(torch.float32)
            self.weights = torch.where(many > 0, many.sum() / ((many > 0).sum() * many.clamp(min=1)), 1.0)

    def forward(self, each: Tensor, targets: Tensor) -> Tensor:
        """Return each sample's loss times the weight of its class; both have the same shape.

        Raises:
            RuntimeError: if classes are to be balanced and were never counted.
        """
        if self.weights is None:
            if self.balanced:
                raise RuntimeError("class_weight: balanced needs count_classes before the first batch")
            return each
        # A step without a label has no class; its loss is 0 already.
        return each * self.weights.to(each.dtype)[targets.clamp(min=0)]


class ClassWeighted(Loss):
    """A loss for classes, each with a weight.

    Args:
        class_weight: See `ClassWeights`.

    Raises:
        ConfigError: see `ClassWeights`.
    """

    def __init__(self, class_weight: ClassWeight) -> None:
        super().__init__()
        self.class_weights = ClassWeights(class_weight)

    def bind(self, task: Task) -> None:
        self.class_weights.bind(task.num_classes)

    def answers(self, y: Tensor) -> Tensor:
        """Return the class of the largest readout up to each step."""
        return self.running(y).argmax(-1)

    def count_classes(self, counts: Tensor) -> None:
        self.class_weights.count_classes(counts)


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
