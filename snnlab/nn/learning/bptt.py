"""Backpropagation through time, truncated or not."""

from __future__ import annotations

from typing import Literal

from snnlab.errors import ConfigError
from snnlab.event_frames import dense
from snnlab.nn.layer import Counts, reach_of
from snnlab.nn.learning.rule import RULES, BatchResult, LearningRule, RuleContext, Task
from snnlab.nn.losses import records_of
from snnlab.nn.network import Network
from snnlab.nn.tbptt import run_windows
from snnlab.spec.declared import no_setting


@RULES.register("bptt")
class BPTT(LearningRule):
    """Backpropagation through time, over all steps, or within windows of `tbptt_steps`.

    Source: Werbos, Backpropagation through time: what it does and how to do it, Proceedings of the IEEE 1990.
    """

    window: int | None = no_setting(None)

    @property
    def reads(self) -> Literal["all", "windows", "pieces"]:
        return "all" if self.window is None else "windows"

    def bind(self, context: RuleContext) -> None:
        """Refuse windows of a network that needs all steps at once."""
        if self.window is not None and reach_of([context.built.network]) == "recording":
            what = "a layer such as psn, or batch_norm with per_step,"
            raise ConfigError("tbptt_steps", f"{what} needs all steps at once", "set tbptt_steps: null")
        if self.window is not None and records_of(context.loss):
            raise ConfigError("tbptt_steps", "the loss reads hidden layers of all steps", "set tbptt_steps: null")

    def learn(self, network: Network, task: Task, counts: Counts) -> BatchResult:
        x = task.frames(network)
        if self.window is None:
            y = network(x, lengths=task.lengths, counts=counts)[0]
        else:
            y = run_windows(network, dense(x), self.window, lengths=task.lengths, counts=counts)
        loss, terms = task.loss(y, counts)
        return BatchResult(loss, terms, task.scores(y))
