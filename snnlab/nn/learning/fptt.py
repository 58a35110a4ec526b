"""Forward propagation through time: the weights change several times within a recording, held near their mean.

Axes: T steps, B samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from snnlab.kernels.reference import detached
from snnlab.nn.layer import Counts, add_counts
from snnlab.nn.learning.rule import (
    RULES,
    BatchResult,
    Gradients,
    LearningRule,
    Piece,
    RuleContext,
    Task,
    derivatives,
    require_loss_per_step,
    require_time_can_be_split,
)
from snnlab.nn.network import Network
from snnlab.spec.interval import Count, Positive, between


@RULES.register("fptt")
class FPTT(LearningRule):
    """Forward propagation through time: an update after each part of the recording, with a regularizer.

        gradient = dL[part]/dW - m + alpha (W - W_mean),   then, with the new W,
        m = m - alpha (W - W_mean),   W_mean = (1 - beta) W_mean + beta W - (beta / alpha) m

    L[part] is the mean loss of the steps of a part, with backpropagation within the part; the experiment's optimizer
    makes the updates. W_mean and m go on from batch to batch, and are in checkpoints.

    Args:
        parts: Number of parts, and of updates, of a recording.
        alpha: Weight of the regularizer.
        beta: Share of the new weights in the mean.

    Source: Kag and Saligrama, Training recurrent neural networks via forward propagation through time, ICML 2021, in
        the form of its program; Yin et al., Accurate online training of dynamical spiking neural networks through
        forward propagation through time, Nature Machine Intelligence 2023.
    """

    changes_weights = True

    parts: Count = 10
    alpha: Positive = 0.5
    beta: Annotated[float, between(0, 1)] = 0.5

    @property
    def reads(self) -> Any:
        return "pieces"

    def bind(self, context: RuleContext) -> None:
        """Refuse a loss that is none per step, and a layer that needs all steps at once."""
        require_loss_per_step(context)
        require_time_can_be_split(context.built.network)
        for name, one in context.built.network.named_parameters():
            for kind in ("mean", "multiplier"):
                self.register_buffer(_buffer(kind, name), torch.zeros_like(one))
        # The weights may be loaded after this.
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        self._has_means = False

    def learn(self, network: Network, task: Task, counts: Counts) -> BatchResult:
        gradients = Gradients(network.parameters())
        self._follow(network)
        size, first, state = self._steps_of_part(task.num_steps), 0, None
        terms: dict[str, Tensor] = {}
        scores: Tensor | None = None
        for x in task.pieces(size):
            piece = Piece(task, x, first)
            y, state = network(x, state, lengths=piece.lengths, counts=piece.counts)
            loss, state = piece.loss(y) * (task.num_steps / len(x)), detached(state)
            found = self._with_regularizer(network, derivatives(loss, gradients.parameters), gradients.parameters)
            first += len(x)
            if first < task.num_steps:
                for one, gradient in zip(gradients.parameters, found, strict=True):
                    one.grad = gradient
                task.update()
                network.zero_grad(set_to_none=True)
                self._follow(network)
            else:
                for one, gradient in zip(gradients.parameters, found, strict=True):
                    gradients.add(one, gradient)
            add_counts(counts, {name: n.detach() for name, n in piece.counts.items()})
            terms = {name: term + terms[name] if name in terms else term for name, term in piece.terms.items()}
            assert piece.y is not None
            scores = task.add_scores(scores, piece.y, piece.first)
        assert scores is not None
        return BatchResult(gradients.attached(torch.stack([*terms.values()]).sum()), terms, scores)

    def steps_in_memory(self, num_steps: int) -> int:
        return self._steps_of_part(num_steps)

    def _steps_of_part(self, num_steps: int) -> int:
        return math.ceil(num_steps / self.parts)

    def _kept(self, network: Network) -> Iterator[tuple[nn.Parameter, Tensor, Tensor]]:
        """Yield each parameter with its mean and its multiplier m."""
        for name, one in network.named_parameters():
            yield one, self.get_buffer(_buffer("mean", name)), self.get_buffer(_buffer("multiplier", name))

    def _with_regularizer(
        self, network: Network, found: Sequence[Tensor | None], parameters: Sequence[nn.Parameter]
    ) -> list[Tensor | None]:
        kept = {one: (mean, m) for one, mean, m in self._kept(network)}
        return [
            None if gradient is None else gradient - kept[one][1] + self.alpha * (one.detach() - kept[one][0])
            for one, gradient in zip(parameters, found, strict=True)
        ]

    @torch.no_grad()
    def _follow(self, network: Network) -> None:
        """Update m and the mean after a change of the weights; the next batch sees that of a batch's last part."""
        first = not self._has_means and not bool(self.get_buffer("started"))
        self._has_means = True
        self.get_buffer("started").fill_(True)
        for one, mean, m in self._kept(network):
            if first:
                mean.copy_(one)
            m.sub_(self.alpha * (one - mean))
            mean.copy_((1 - self.beta) * mean + self.beta * one - (self.beta / self.alpha) * m)


def _buffer(kind: str, name: str) -> str:
    return f"{kind}_{name.replace('.', '__')}"
