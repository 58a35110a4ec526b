"""The work of `snnlab doctor --gradient`: a rule's gradient on a batch beside that of backpropagation through time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError
from snnlab.nn import Network
from snnlab.nn.learning import BPTT, LearningRule
from snnlab.runs.tables import Table
from snnlab.seeds import Stream, derived_seed
from snnlab.session.session import Session
from snnlab.training.task import BatchTask


class LayerGradient(NamedTuple):
    """A rule's gradient of a layer's parameters beside the true one, g and h.

    Attributes:
        parameters: Number of parameters with a true gradient.
        cosine: g h / (|g| |h|); NaN if one of them is 0.
        norm: |g| / |h|.
        same_sign: Fraction of the parameters, of those whose true gradient is not 0, with the same sign.
    """

    parameters: int
    cosine: float
    norm: float
    same_sign: float


def compare_gradients(ours: Mapping[str, Tensor], true: Mapping[str, Tensor]) -> dict[str, LayerGradient]:
    """Return the comparison of each layer, and of all under "all"; a gradient that one lacks is 0 there.

    Args:
        ours: The rule's gradients, by the parameters' dotted names.
        true: Those of backpropagation through time.
    """
    names = [*true, *(name for name in ours if name not in true)]
    layers = list(dict.fromkeys(name.partition(".")[0] for name in names))
    found = {}
    for layer in [*layers, *["all"] * (len(layers) > 1)]:
        of_layer = [name for name in names if layer == "all" or name.partition(".")[0] == layer]
        pairs = [(_or_zeros(ours, name, true), _or_zeros(true, name, ours)) for name in of_layer]
        g, h = (torch.cat([one.flatten().double() for one in each]) for each in zip(*pairs, strict=True))
        known = h != 0
        same = (g.sign() == h.sign())[known].double().mean()
        norms = g.norm(), h.norm()
        cosine = (g @ h) / (norms[0] * norms[1])
        found[layer] = LayerGradient(h.numel(), float(cosine), float(norms[0] / norms[1]), float(same))
    return found


def _or_zeros(one: Mapping[str, Tensor], name: str, other: Mapping[str, Tensor]) -> Tensor:
    return one[name] if name in one else torch.zeros_like(other[name])


class RuleGradient:
    """Computes the gradients of a training batch by the experiment's rule and by backpropagation through time.

    Args:
        experiment: The experiment.
        folder: Its folder.
        run: The run whose chosen weights the network has; None: its initial weights.
    """

    def __init__(self, experiment: Experiment, folder: Path, run: Path | None) -> None:
        self.session = Session(experiment, folder, run=run)
        self.session.use_threads()
        self.session.check_without_lightning()
        self.kind = str(experiment.learning["type"])
        if self.session.learning.changes_weights:
            raise ConfigError("learning", f"{self.kind} changes the weights within a batch, and has no one gradient")

    def compare(self) -> dict[str, LayerGradient]:
        """Return the comparison of the first training batch, by layer."""
        session = self.session
        session.build("network")
        session.set_computation()
        device = session.processes.device
        session.network.to(device).train()
        batch, loss = session.data.first_batch(device), session.loss_with_class_counts.to(device)
        task = BatchTask(batch, loss, session.settings.targets, lambda: None)
        rule = session.learning.to(device)
        ours, true = (self._gradients(session.network, one, task) for one in (rule, BPTT()))
        return compare_gradients(ours, true)

    def _gradients(self, network: Network, rule: LearningRule, task: BatchTask) -> dict[str, Tensor]:
        torch.manual_seed(derived_seed(self.session.experiment.seed, Stream.DROPOUT, 0, 0))
        network.zero_grad(set_to_none=True)
        rule.learn(network, task, {}).loss.backward()
        return {name: one.grad.clone() for name, one in network.named_parameters() if one.grad is not None}


def print_comparison(kind: str, found: Mapping[str, LayerGradient]) -> None:
    """Print a line for each layer."""
    rows = [
        (name, f"{one.parameters:,}", *map(_or_dash, (".4f", ".3f", ".1%"), one[1:])) for name, one in found.items()
    ]
    Table(("layer", "parameters", "cosine", "norm", "same sign"), rows, text_columns=(0,)).print()
    print(f"the gradient of learning={kind} on one training batch beside that of learning=bptt, under the same loss;")
    print("norm: in units of that of bptt; same sign: of the parameters whose gradient by bptt is not 0; -: it is 0")


def _or_dash(form: str, value: float) -> str:
    return format(value, form) if math.isfinite(value) else "-"
