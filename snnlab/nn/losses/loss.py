"""Base classes of losses and regularizers, their weighted sum, and class weights.

Axes: T steps, B samples, K outputs: classes, or values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError, did_you_mean, error_context
from snnlab.nn.layer import Counts, valid_steps
from snnlab.nn.network import BuiltNetwork, Shape
from snnlab.nn.readouts import REDUCTIONS, Reductions
from snnlab.registry import Registry
from snnlab.spec.declared import Declared, no_setting
from snnlab.spec.field import type_problem
from snnlab.spec.interval import at_least
from snnlab.target_kinds import Targets

LOSSES = Registry("loss")
REGULARIZERS = Registry("regularizer", within=LOSSES)
LossAndTerms = tuple[Tensor, dict[str, Tensor]]
# How an output over time becomes one; `per_step` is the mean, and the loss that of each step.
Readout = Literal["mean", "sum", "last", "max", "softmax_sum", "first_spike", "per_step"]


class LossContext(NamedTuple):
    """The network and the data that a loss is used with.

    Attributes:
        built: The network and the shapes of its layers.
        in_shape: Shape of its input, of one sample at one step.
        dt: Length of a step, ms; None if steps have no length.
        num_steps: Steps of the longest recording.
        num_classes: Number of classes, or of values.
    """

    built: BuiltNetwork
    in_shape: Shape
    dt: float | None
    num_steps: int
    num_classes: int


class LossTerm(Declared, nn.Module, ABC):
    """A term of the minimized sum: a loss or a regularizer; its settings are annotated attributes.

    Shape:
        y: `[T, B, K]`; targets: classes `[B]`, values `[B, K]`, labels of steps `[T, B]`, or values of steps
        `[T, B, K]`; lengths: `[B]`; counts: `[B, ...]` by layer; weight: `[B]`.
    """

    supported_targets: ClassVar[tuple[Targets, ...]] = ("class", "value", "steps", "series")
    """The supported kinds of targets."""
    records: Sequence[str] = no_setting(())
    """Layers of neurons whose outputs over time it reads, such as `lif1`, or states, such as `lif1.v`: `recorded`."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its terms if it is a sum; else empty."""
        return ()

    def bind(self, context: LossContext) -> None:
        """Adapt the loss to a network and its data, before the first batch; a ConfigError names what does not fit."""

    def set_class_counts(self, counts: Tensor) -> None:
        """Set the number of training recordings of each class, `[K]`."""

    def num_labelled_steps(self, targets: Tensor) -> Tensor | None:
        """Return the number of labelled steps if the loss is a mean over them; None if it is a mean over samples.

        With it, several processes and accumulated batches compute the same gradient as one large batch.
        """
        return None

    @abstractmethod
    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> LossAndTerms:
        """Return the loss and its terms by name: means over the samples, each sample times its weight."""


class Loss(LossTerm):
    """A loss: it compares outputs with targets, and also defines the readout."""

    supported_targets: ClassVar[tuple[Targets, ...]] = ("class",)

    @property
    def of_each_step(self) -> bool:
        """Whether it is the mean over the steps of a loss of each step, and its readout the outputs or their mean.

        Rules that learn at each step need such a loss.
        """
        return False

    @abstractmethod
    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the readout, which is compared with the targets: `[B, K]`, or `[T, B, K]` for targets at each step.

        For classes, the answer is the argmax over K; values are the answer themselves.
        """

    def readout_targets(self, targets: Tensor) -> Tensor:
        """Return the targets that the readout is compared with: all of them, unless the readout leaves out steps."""
        return targets

    def running(self, y: Tensor) -> Tensor:
        """Return the readout of the steps up to each step, `[T, B, K]`.

        This default calls `readout` for each number of steps; a subclass with cumulative sums overrides it.
        """
        steps = [torch.full((y.shape[1],), t, device=y.device) for t in range(1, len(y) + 1)]
        return torch.stack([self.readout(y[:t], length) for t, length in enumerate(steps, 1)])

    @abstractmethod
    def answers(self, y: Tensor) -> Tensor:
        """Return the answer at each step from the steps up to it: classes `[T, B]`, or values `[T, B, K]`."""


class ReducedLoss(Loss):
    """Base class of losses whose readout is one value for each output, a reduction of all valid steps."""

    reduction: Readout = no_setting("mean")

    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the reduction over the valid steps."""
        return self._reductions[0](y, lengths)

    def running(self, y: Tensor) -> Tensor:
        """Return the reduction up to each step."""
        return self._reductions[1](y)

    @property
    def _reductions(self) -> Reductions:
        return REDUCTIONS["mean" if self.reduction == "per_step" else self.reduction]


class Regularizer(LossTerm):
    """A penalty in addition to a loss, without a readout."""


class LayerRegularizer(Regularizer):
    """Base class of regularizers of spiking layers.

    Args:
        layers: Names of spiking layers or of blocks; null for all.
    """

    layers: Sequence[str] | None = None

    def prepare(self) -> None:
        self._names: list[str] = []

    def bind(self, context: LossContext) -> None:
        self._names = select_layers(self.layers, context.built.spiking, "spiking layer")


def within_lengths(each: Tensor, lengths: Tensor) -> Tensor:
    """Return `each`, `[T, B, ...]`, with zeros past each sample's end, also in place of NaN."""
    valid = valid_steps(lengths, each.shape[0], each)
    return each if valid is None else torch.where(valid, each, 0)


def mean_over_steps(each: Tensor, lengths: Tensor) -> Tensor:
    """Return each sample's mean over its valid steps, `[T, B]` to `[B]`."""
    return within_lengths(each, lengths).sum(0) / lengths


def mean_over_samples(each: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean of `each`, `[B]`, times `weight`, `[B]`."""
    return (each if weight is None else each * weight).mean()


def select_layers(layers: Sequence[str] | None, known: Collection[str], what: str) -> list[str]:
    """Return the selected layers; a block's name selects all layers within it.

    Args:
        layers: Names, or None for all.
        known: Names of all layers of this kind, dotted within blocks.
        what: The kind of layer for error messages, such as `spiking layer`.
    """
    if not known:
        raise ConfigError("layers", f"the network has no {what}, so this term does nothing")
    found: dict[str, None] = {}
    for name in known if layers is None else layers:
        these = [other for other in known if other == name or other.startswith(f"{name}.")]
        if not these:
            near = did_you_mean(name, known)
            raise ConfigError("layers", f"there is no {what} '{name}'", near, () if near else known)
        found |= dict.fromkeys(these)
    if not found:
        raise ConfigError("layers", "is empty", "leave it out for all layers")
    return list(found)


ClassWeight = Sequence[float] | Literal["balanced"] | None


class ClassWeights(nn.Module):
    """Weights of classes: fixed, or balanced so that all classes count equally.

        balanced: weight[k] = recordings / (classes * recordings of k), over the training recordings

    A batch's loss is the mean over its recordings of weight times loss. PyTorch instead divides by the sum of the
    weights in the batch, so that the weight of a recording would depend on the other recordings in its batch.

    Args:
        class_weight: A list with one weight >= 0 for each class; `balanced`; None for equal weights.
    """

    weights: Tensor | None

    def __init__(self, class_weight: ClassWeight) -> None:
        super().__init__()
        self.balanced = class_weight == "balanced"
        weights = (
            None
            if class_weight is None or isinstance(class_weight, str)
            else torch.tensor([float(w) for w in class_weight])
        )
        if weights is not None and (not weights.numel() or bool((weights < 0).any()) or not bool(weights.any())):
            raise ConfigError("class_weight", f"weights are >= 0 and not all 0, got {class_weight}")
        # Not in checkpoints, because it is computed from the data again.
        self.register_buffer("weights", weights, persistent=False)

    def bind(self, num_classes: int) -> None:
        """Raise a ConfigError if the number of weights is not the number of classes."""
        if self.weights is not None and not self.balanced and len(self.weights) != num_classes:
            raise ConfigError("class_weight", f"has {len(self.weights)} weights, but there are {num_classes} classes")

    def set_class_counts(self, counts: Tensor) -> None:
        """Compute balanced weights from the numbers of training recordings of each class, `[K]`."""
        if self.balanced:
            n = counts.to(torch.float32)
            self.weights = torch.where(n > 0, n.sum() / ((n > 0).sum() * n.clamp(min=1)), 1.0)

    def forward(self, each: Tensor, targets: Tensor) -> Tensor:
        """Return each loss times the weight of its class; losses and targets have the same shape."""
        if self.weights is None:
            if self.balanced:
                raise RuntimeError("class_weight: balanced needs the class counts before the first batch")
            return each
        # The loss of a step without a label is 0 already.
        return each * self.weights.to(each.dtype)[targets.clamp(min=0)]


class ClassWeighted(ReducedLoss):
    """Base class of losses for classes, with class weights.

    Args:
        class_weight: Weight of each class: a list, `balanced` (by the numbers of training recordings), or null for
            equal weights.
    """

    class_weight: ClassWeight = None

    def prepare(self) -> None:
        self.class_weights = ClassWeights(self.class_weight)

    def bind(self, context: LossContext) -> None:
        self.class_weights.bind(context.num_classes)

    def answers(self, y: Tensor) -> Tensor:
        """Return the class of the largest readout up to each step."""
        return self.running(y).argmax(-1)

    def set_class_counts(self, counts: Tensor) -> None:
        self.class_weights.set_class_counts(counts)


_TARGET_NAMES: dict[Targets, str] = {
    "class": "classes",
    "value": "values",
    "steps": "labels at each step",
    "series": "values at each step",
}


def check_supported_targets(loss: LossTerm, name: str, targets: Targets, place: str = "loss") -> None:
    """Check that a loss supports the targets of the data.

    Args:
        loss: The loss.
        name: Its `type`.
        targets: The kind of the data's targets.
        place: Path of the loss in the configuration.
    """
    if targets in loss.supported_targets:
        return
    losses = {other: LOSSES.get(other, place) for other in LOSSES if other not in REGULARIZERS}
    supporting = [other for other, factory in losses.items() if targets in getattr(factory, "supported_targets", ())]
    instead = f"{place}{'=' if place == 'loss' else '.type='}{supporting[0]}"
    more = " or another loss for them, see snnlab list losses" if len(supporting) > 1 else ""
    raise ConfigError(
        place, f"{name} is for {_TARGET_NAMES[loss.supported_targets[0]]}, data.targets={targets} needs {instead}{more}"
    )


class WeightedTerm(NamedTuple):
    """A term that is added to the loss: its type, its weight and the module."""

    kind: str
    weight: float
    term: LossTerm


class RegularizedLoss(Loss):
    """Sum of a loss and weighted terms; only the loss defines the readout.

        total = loss + sum_n weight[n] * term[n]

    Each summand is logged.

    Args:
        kind: The loss's `type`, which is also the name of its summand.
        loss: The loss.
        weighted_terms: The weighted terms, by name.
    """

    def __init__(self, kind: str, loss: Loss, weighted_terms: Mapping[str, WeightedTerm]) -> None:
        super().__init__()
        self.kind, self.main = kind, loss
        self.supported_targets = loss.supported_targets  # pyright: ignore[reportAttributeAccessIssue]
        self.parts = nn.ModuleList(each.term for each in weighted_terms.values())
        self._term_settings = {name: (each.kind, each.weight) for name, each in weighted_terms.items()}

    @property
    def names(self) -> tuple[str, ...]:
        return (self.kind, *self._term_settings)

    def weighted_terms(self) -> Iterator[tuple[str, WeightedTerm]]:
        """Yield the weighted terms with their names."""
        for (name, (kind, weight)), term in zip(self._term_settings.items(), self.parts, strict=True):
            assert isinstance(term, LossTerm)
            yield name, WeightedTerm(kind, weight, term)

    def check_terms(self, targets: Targets) -> None:
        """Raise a ConfigError for the first term that does not support the targets."""
        for name, each in self.weighted_terms():
            check_supported_targets(each.term, each.kind, targets, f"loss.regularizers.{name}")

    def bind(self, context: LossContext) -> None:
        self.main.bind(context)
        for name, each in self.weighted_terms():
            with error_context(f"regularizers.{name}"):
                each.term.bind(context)

    def set_class_counts(self, counts: Tensor) -> None:
        self.main.set_class_counts(counts)
        for _, each in self.weighted_terms():
            each.term.set_class_counts(counts)

    def num_labelled_steps(self, targets: Tensor) -> Tensor | None:
        return self.main.num_labelled_steps(targets)

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> LossAndTerms:
        """Return the sum and its summands by name."""
        total = self.main(y, targets, lengths, counts, weight)[0]
        summands = {self.kind: total}
        for name, each in self.weighted_terms():
            summands[name] = each.weight * each.term(y, targets, lengths, counts, weight)[0]
            total = total + summands[name]
        return total, summands

    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the loss's readout."""
        return self.main.readout(y, lengths)

    def readout_targets(self, targets: Tensor) -> Tensor:
        return self.main.readout_targets(targets)

    def running(self, y: Tensor) -> Tensor:
        """Return the loss's readouts up to each step."""
        return self.main.running(y)

    def answers(self, y: Tensor) -> Tensor:
        return self.main.answers(y)


def build_loss(node: Mapping[str, Any]) -> Loss:
    """Build a loss from its YAML node.

    Args:
        node: `type`, the type's settings, and optionally `parts`: nodes by name, each with `type`, `weight` (default 1)
            and settings, or null for no term.
    """
    settings = dict(node)
    kind, parts = settings.pop("type", None), settings.pop("regularizers", None)
    loss = LOSSES.build(kind, settings, "loss")
    if not isinstance(loss, Loss):
        raise ConfigError(
            "loss",
            f"{kind} is a regularizer, which has no readout",
            f"add it to a loss: +loss.regularizers.NAME.type={kind}",
        )
    if problem := type_problem(parts, Mapping[str, Any] | None):
        raise ConfigError("loss.regularizers", problem, "write {NAME: {type: ...}}")
    built = {
        str(name): _build_term(term, f"loss.regularizers.{name}")
        for name, term in (parts or {}).items()
        if term is not None
    }
    if kind in built:
        raise ConfigError(f"loss.regularizers.{kind}", "is the name of the loss itself", "choose another name")
    return RegularizedLoss(str(kind), loss, built) if built else loss


def _build_term(node: Any, place: str) -> WeightedTerm:
    if not isinstance(node, Mapping):
        raise ConfigError(place, f"expected a mapping such as {{type: rate_band, weight: 0.1}}, got {node!r}")
    settings = dict(node)
    kind, weight = settings.pop("type", None), settings.pop("weight", 1.0)
    if problem := type_problem(weight, Annotated[float, at_least(0)]):
        raise ConfigError(f"{place}.weight", problem)
    return WeightedTerm(str(kind), float(weight), LOSSES.build(kind, settings, place))
