"""The same training in SpikingJelly: its multi-step modules in channels-last memory and a plain loop.

    python -m trainbench.spikingjelly_training FILE [overrides ...]

Axes: T steps, B samples, K classes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from stepbench.peers import import_quietly
from stepbench.work import BenchError, UsageError
from torch import Tensor, nn
from torch.nn import functional as F
from trainbench.clock import epoch

from snnlab.config.compose import compose_experiment
from snnlab.data.data_module import EventDataModule
from snnlab.data.events.frames import Batch
from snnlab.memory import keep_heap
from snnlab.nn import Network
from snnlab.nn.neurons.base import set_backend
from snnlab.nn.neurons.li import LI
from snnlab.nn.neurons.lif import LIF
from snnlab.session import Session

ALPHA = 2.0  # of the arctangent; its height is alpha / 2
CHECKED = 8  # recordings
# Relative to the norm. At the threshold, rounding decides on a spike.
MOST = 0.02


class Mean(nn.Module):
    """The mean of a leaky integrator over time, `[B, K]`."""

    def __init__(self, li: LI) -> None:
        super().__init__()
        k = li.coefficients()
        self.mean = import_quietly("spikingjelly.activation_based.neuron").NonSpikingLIFNode(
            tau_of(k.a), decode="mean-mem"
        )
        self.gain = float(k.g) * self.mean.tau  # its own is 1 / tau

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean membrane."""
        return self.mean(x) * self.gain


class SpikingJellyNetwork(nn.Module):
    """The layers of a network of snnlab in SpikingJelly, with copies of the weights."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(convert_layer(name, layer) for name, layer in network.layers()))
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._reset = import_quietly("spikingjelly.activation_based.functional").reset_net

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean output over time, `[B, K]`."""
        self._reset(self.layers)
        return self.layers(x)


def convert_layer(name: str, ours: nn.Module) -> nn.Module:
    """Return the layer of SpikingJelly that corresponds to a layer of snnlab.

    Raises:
        UsageError: if there is none.
    """
    neuron, layer = (import_quietly(f"spikingjelly.activation_based.{part}") for part in ("neuron", "layer"))
    if isinstance(ours, LI):
        return Mean(ours)
    if isinstance(ours, LIF):
        atan = import_quietly("spikingjelly.activation_based.surrogate").ATan(ALPHA)
        k = ours.coefficients()
        settings = {"decay_input": False, "v_threshold": float(k.v_threshold), "v_reset": None, "detach_reset": True}
        return neuron.LIFNode(tau_of(k.a), surrogate_function=atan, step_mode="m", **settings)
    found = next((kind for kind in (nn.Conv2d, nn.MaxPool2d, nn.Linear, nn.Flatten) if isinstance(ours, kind)), None)
    if found is None:
        raise UsageError(f"{name}: the bench has no layer of SpikingJelly for {type(ours).__name__}")
    arguments = {key: value for key in SETTINGS[found] if (value := getattr(ours, key)) is not None}
    if found in (nn.Conv2d, nn.Linear):
        arguments["bias"] = ours.bias is not None
    made = getattr(layer, found.__name__)(**arguments, step_mode="m")
    made.load_state_dict(ours.state_dict())
    return made


SETTINGS: Mapping[type[nn.Module], tuple[str, ...]] = {
    nn.Conv2d: ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
    nn.MaxPool2d: ("kernel_size", "stride", "padding", "dilation"),
    nn.Linear: ("in_features", "out_features"),
    nn.Flatten: ("start_dim", "end_dim"),
}


def tau_of(a: Any) -> float:
    """Return the tau, steps, whose membrane decays by the factor a: a = 1 - 1 / tau."""
    return 1.0 / (1.0 - float(a))


def check(spikingjelly: SpikingJellyNetwork, network: Network, batch: Batch) -> dict[str, float]:
    """Return the errors of outputs and gradients against snnlab's network, relative to their norms.

    Raises:
        BenchError: if they are too large.
    """
    x, targets = batch.x[:, :CHECKED], batch.targets[:CHECKED]
    ours, given = network(x)[0].mean(0), spikingjelly(x)
    for y in (ours, given):
        F.cross_entropy(y, targets).backward()
    pairs = [(ours, given)]
    of_both = zip(network.parameters(), spikingjelly.parameters(), strict=True)
    pairs += [(mine.grad, their.grad) for mine, their in of_both if mine.grad is not None and their.grad is not None]
    names = ["outputs", *(f"gradient {n}" for n in range(1, len(pairs)))]
    errors = {name: ((a - b).norm() / a.norm()).item() for name, (a, b) in zip(names, pairs, strict=True)}
    if not max(errors.values()) < MOST:
        raise BenchError(f"SpikingJelly's network is not snnlab's: {errors}")
    spikingjelly.zero_grad()
    return errors


def batches(data: EventDataModule, loader: Any) -> Iterator[Batch]:
    """Yield frames."""
    return (data.on_after_batch_transfer(batch, 0) for batch in loader)


def train(overrides: list[str]) -> dict[str, Any]:
    """Train as `snnlab train` does and return the epochs.

    Raises:
        BenchError: if the network differs from snnlab's.
    """
    experiment, _ = compose_experiment(overrides, None)
    session = Session(experiment)
    session.use_threads()
    keep_heap()
    data, built = session.data, session.built
    set_backend(built.network, "reference")
    make_optimizer, schedule = session.optimization
    spikingjelly, loader = SpikingJellyNetwork(built.network), data.train_dataloader()
    errors = check(spikingjelly, built.network, next(batches(data, loader)))
    optimizer = make_optimizer(spikingjelly)
    scheduler = schedule.make(optimizer, None) if schedule else None
    epochs, started = [], time.perf_counter()
    for n in range(experiment.trainer["max_epochs"]):
        loader.sampler.set_epoch(n)  # pyright: ignore[reportAttributeAccessIssue]
        before = time.perf_counter()
        for batch in batches(data, loader):
            optimizer.zero_grad()
            F.cross_entropy(spikingjelly(batch.x), batch.targets).backward()
            optimizer.step()
        train_s = time.perf_counter() - before
        if scheduler is not None:
            scheduler.step()
        accuracy = evaluate(spikingjelly, data)
        epochs.append(epoch(train_s, time.perf_counter() - started, accuracy))
    return {"errors": errors, "epochs": epochs}


@torch.no_grad()
def evaluate(spikingjelly: SpikingJellyNetwork, data: EventDataModule) -> float:
    """Return the accuracy on the validation recordings."""
    spikingjelly.eval()
    right = [spikingjelly(batch.x).argmax(-1) == batch.targets for batch in batches(data, data.val_dataloader())]
    spikingjelly.train()
    return torch.cat(right).double().mean().item()


if __name__ == "__main__":
    try:
        Path(sys.argv[1]).write_text(json.dumps(train(sys.argv[2:])))
    except BenchError as error:
        sys.exit(str(error))
