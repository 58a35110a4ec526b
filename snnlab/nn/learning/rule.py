"""Learning rules: how the gradient of a batch is computed, or the change of the weights without a gradient.

Axes: T steps, B samples, K outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError, join_names
from snnlab.event_frames import EventFrames
from snnlab.nn.layer import Counts, add_counts, reach_of
from snnlab.nn.losses import Loss, records_of
from snnlab.nn.losses.loss import LossAndTerms
from snnlab.nn.network import BuiltNetwork, Network
from snnlab.registry import Registry
from snnlab.spec.declared import Declared
from snnlab.spec.interval import Count

RULES = Registry("learning rule")
PLACE = "learning"


class Task(Protocol):
    """A batch and its loss, as a rule reads them, and the optimizer.

    Attributes:
        num_steps: Number of steps T.
        lengths: Valid steps of each sample, in host memory, `[B]`; None if all are.
    """

    num_steps: int
    lengths: Tensor | None

    def frames(self, network: Network) -> Tensor | EventFrames:
        """Return the input of all steps, `[T, B, ...]`, as lists of events where the network accepts them."""
        ...

    def pieces(self, steps: int) -> Iterator[Tensor]:
        """Yield the input in pieces of `steps` steps or fewer, `[t, B, ...]`; each is made when it is asked for."""
        ...

    def loss(self, y: Tensor, counts: Counts) -> LossAndTerms:
        """Return the loss of the outputs of all steps, `[T, B, K]`."""
        ...

    def loss_of_steps(self, y: Tensor, first: int) -> LossAndTerms:
        """Return the part of a loss per step that belongs to the outputs `[t, B, K]` from step `first` on."""
        ...

    def scores(self, y: Tensor) -> Tensor:
        """Return the readout of the outputs of all steps."""
        ...

    def add_scores(self, before: Tensor | None, y: Tensor, first: int) -> Tensor:
        """Return the readout of the steps up to now, from that of the earlier ones and the outputs `[t, B, K]`."""
        ...

    def update(self) -> None:
        """Let the optimizer change the weights now, by the gradients that they have."""
        ...


class BatchResult(NamedTuple):
    """The result of a batch.

    Attributes:
        loss: The loss; its backward pass gives each parameter its gradient.
        terms: The terms of the loss by name.
        scores: The readout.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    scores: Tensor


class RuleContext(NamedTuple):
    """What a rule is used with.

    Attributes:
        built: The network and the shapes of its layers.
        loss: The loss.
        loss_type: Its `type`.
        seed: Seed of the rule's own random numbers.
        in_shape: Shape of the network's input, of one sample at one step.
        dt: Length of a step, ms; None if steps have no length.
    """

    built: BuiltNetwork
    loss: Loss
    loss_type: str
    seed: int
    in_shape: tuple[int, ...]
    dt: float | None


class LearningRule(Declared, nn.Module, ABC):
    """Base class of learning rules. A rule is a module: its buffers are in checkpoints."""

    changes_weights: ClassVar[bool] = False
    """Whether it changes weights within a batch, before the optimizer's step."""

    remedy: ClassVar[str] = "lower optimizer.lr, or clip the gradients: trainer.gradient_clip_val=1"
    """What to do about weights, or a loss, that are no longer finite."""

    @property
    def reads(self) -> Literal["all", "windows", "pieces"]:
        """How it reads a batch: all steps at once, within windows, or in pieces that are made when they are read."""
        return "all"

    def bind(self, context: RuleContext) -> None:
        """Check that the rule can train a network under a loss, and make what it keeps from batch to batch."""

    @abstractmethod
    def learn(self, network: Network, task: Task, counts: Counts) -> BatchResult:
        """Run a training batch.

        Args:
            network: The network.
            task: The batch.
            counts: A dict to fill with the spike counts of all steps.
        """

    def steps_in_memory(self, num_steps: int) -> int:
        """Return the number of steps, of those of a recording, that are in memory at once."""
        return num_steps


class Gradients:
    """The gradients of parameters, summed over pieces.

    Args:
        parameters: The trained parameters.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = [one for one in parameters if one.requires_grad]
        self.found: dict[nn.Parameter, Tensor] = {}

    def add(self, parameter: nn.Parameter, gradient: Tensor | None) -> None:
        """Add to the gradient of a parameter; None adds nothing."""
        if gradient is None or not parameter.requires_grad:
            return
        if parameter in self.found:
            self.found[parameter] += gradient
        else:
            self.found[parameter] = gradient.detach().clone()

    def add_derivatives(self, loss: Tensor) -> None:
        """Add the derivatives of a loss by all parameters, from its autograd graph."""
        if loss.requires_grad:
            for one, gradient in zip(self.parameters, derivatives(loss, self.parameters), strict=True):
                self.add(one, gradient)

    def attached(self, loss: Tensor) -> Tensor:
        """Return a loss without a graph as one whose backward pass gives these gradients."""
        gradients = [self.found.get(one) for one in self.parameters]
        return _WithGradients.apply(loss, gradients, *self.parameters)  # type: ignore[return-value]


def derivatives(loss: Tensor, by: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Return the derivatives of a loss; None for what it does not depend on."""
    return torch.autograd.grad(loss, by, allow_unused=True) if by else ()


class _WithGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: Sequence[Tensor | None], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.detach().clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(None if one is None else one * grads[0] for one in ctx.gradients)


class Piece:
    """Some steps of a batch, one after the other.

    Attributes:
        x: Their input, `[t, B, ...]`.
        first: Index of the first of them.
        lengths: Valid steps of each sample among them, `[B]`; None if all are.
        counts: A dict for the spike counts of these steps.
    """

    def __init__(self, task: Task, x: Tensor, first: int) -> None:
        self.task, self.x, self.first = task, x, first
        self.lengths = None if task.lengths is None else (task.lengths - first).clamp(0, len(x))
        self.counts: Counts = {}
        self.y: Tensor | None = None
        self.terms: dict[str, Tensor] = {}

    def loss(self, y: Tensor) -> Tensor:
        """Return the part of the loss that belongs to these steps; a rule calls it once, with their outputs.

        Shape:
            y: `[t, B, K]`.
        """
        loss, terms = self.task.loss_of_steps(y, self.first)
        self.y, self.terms = y.detach(), {name: term.detach() for name, term in terms.items()}
        return loss


class ForwardRule(LearningRule):
    """Base class of rules that go forward in time: memory holds a piece of the steps, whatever their number.

    A subclass says what it keeps (`begin`), what it does at a step, or at some steps at once (`step`), and what it does
    at the end (`end`). The loss must be one per step.

    Args:
        steps_at_once: Steps of a piece, which `step` gets at once. The result does not depend on it, but for rounding.
    """

    steps_at_once: Count = 32

    @property
    def reads(self) -> Literal["all", "windows", "pieces"]:
        return "pieces"

    def bind(self, context: RuleContext) -> None:
        require_loss_per_step(context)
        require_time_can_be_split(context.built.network)

    def begin(self, network: Network, task: Task) -> Any:
        """Return what the rule keeps before the first step; by default None."""

    @abstractmethod
    def step(self, network: Network, kept: Any, piece: Piece, gradients: Gradients) -> Any:
        """Run some steps, add to the gradients, and return what the rule keeps after them."""

    def end(self, network: Network, kept: Any, gradients: Gradients) -> None:
        """Do what is left after the last step; by default nothing."""

    def learn(self, network: Network, task: Task, counts: Counts) -> BatchResult:
        gradients = Gradients(network.parameters())
        kept, first = self.begin(network, task), 0
        loss: Tensor | None = None
        terms: dict[str, Tensor] = {}
        scores: Tensor | None = None
        for x in task.pieces(self.steps_at_once):
            piece = Piece(task, x, first)
            kept = self.step(network, kept, piece, gradients)
            assert piece.y is not None, "a rule calls piece.loss at each step"
            add_counts(counts, {name: n.detach() for name, n in piece.counts.items()})
            terms = {name: term + terms[name] if name in terms else term for name, term in piece.terms.items()}
            scores = task.add_scores(scores, piece.y, first)
            first += len(x)
        self.end(network, kept, gradients)
        assert scores is not None
        loss = gradients.attached(torch.stack([*terms.values()]).sum())
        # With several processes a loss over labelled steps is weighted by its term.
        return BatchResult(loss, dict.fromkeys(terms, loss) if len(terms) == 1 else terms, scores)

    def steps_in_memory(self, num_steps: int) -> int:
        return min(num_steps, self.steps_at_once)


def require_loss_per_step(context: RuleContext) -> None:
    """Raise a ConfigError unless the loss is a mean over the steps of a loss of each step, of the outputs alone."""
    if records := records_of(context.loss):
        what = join_names(records)
        raise ConfigError("loss", f"{context.loss_type} reads {what} of all steps, and this rule learns at each step")
    if context.loss.of_each_step:
        return
    name = context.loss_type
    hint = "" if context.loss.names else "set loss.readout: per_step" if name in ("cross_entropy", "mse") else ""
    raise ConfigError(
        "loss",
        f"{name} is a loss of the whole recording, and this rule learns at each step",
        hint or "choose a loss per step, such as loss=tet or loss=cross_entropy_steps, without regularizers",
    )


def require_time_can_be_split(network: Network) -> None:
    """Raise a ConfigError for the first layer that needs all steps at once."""
    for name, layer in network.named_children():
        if reach_of([layer]) == "recording":
            raise ConfigError(f"model.layers.{name}", "needs all steps at once")


def bind_rule(rule: LearningRule, kind: str, context: RuleContext) -> None:
    """Bind a rule to a network and a loss."""
    try:
        rule.bind(context)
    except ConfigError as error:
        able = [name for name in RULES if name != kind and _can_train(name, context)]
        message = error.message if kind in error.message else f"{error.message} (learning={kind})"
        would_do = f"learning={join_names(able)} would do" if able else ""
        hint = "; ".join(part for part in (error.hint, would_do) if part)
        raise error.with_fields(message=message, hint=hint) from error


def _can_train(kind: str, context: RuleContext) -> bool:
    with suppress(ConfigError):
        RULES.build(kind, {}, PLACE).bind(context)
        return True
    return False
