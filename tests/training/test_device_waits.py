"""A training step reads no value of its device: PyTorch's `meta` device, which has no values, runs all of it.

A GPU is waited for at each read; `meta` refuses the read, and tensors of other devices.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.config.compose import compose_experiment
from snnlab.config.folders import config_folder
from snnlab.data.events.frames import Batch, Mix
from snnlab.nn import LAYERS, NEURONS, build_network
from snnlab.nn.losses import LOSSES, REGULARIZERS, LossContext, build_loss
from snnlab.nn.network import BuiltNetwork
from snnlab.session import Session
from snnlab.target_kinds import Targets
from snnlab.training.module import SpikingModule, TrainingOptions

from ..config.test_packaged import NEEDED
from ..nn.layers.test_contract import MINIMAL
from ..nn.neurons.test_contract import STEPWISE
from ..nn.losses.conftest import SETTINGS, SPIKING, T, B, K, INPUTS

MODELS = sorted(path.stem for path in (config_folder() / "model").glob("*.yaml"))
OUT = {"type": "linear", "out_features": K}
META = torch.device("meta")


def meta_batch(steps: int, shape: tuple[int, ...], targets: Targets, classes: int, lengths: list[int]) -> Batch:
    """Return a batch on the device; its lengths are in host memory too, as the data module leaves them."""
    size = len(lengths)
    sizes = {"class": (size,), "value": (size, classes), "steps": (steps, size), "series": (steps, size, classes)}
    dtype = torch.float32 if targets in ("value", "series") else torch.int64
    return Batch(
        torch.zeros(steps, size, *shape, device=META),
        torch.zeros(size, dtype=torch.int64, device=META),
        torch.zeros(sizes[targets], dtype=dtype, device=META),
        torch.arange(size, device=META),
        host_lengths=lengths,
    )


def train_step(module: SpikingModule, batch: Batch) -> None:
    """Run one step of training as Lightning does: forward, loss, metrics, backward, optimizer; then validate."""
    trainer = SimpleNamespace(
        world_size=1, accumulate_grad_batches=1, log_every_n_steps=1000, should_stop=False, global_step=0
    )
    module.to(META).train()
    module.trainer = trainer  # type: ignore[assignment]
    optimizer = module.make_optimizer(module.network)
    module.training_step(batch, 0).backward()
    torch.nn.utils.clip_grad_norm_(module.network.parameters(), 1.0)
    optimizer.step()
    module.eval()
    with torch.no_grad():
        module.validation_step(batch, 0)
    for stage in ("train", "val"):
        module.metrics[f"{stage}_metrics"]._values()  # type: ignore[operator]


def lengths_of(steps: int) -> list[list[int]]:
    """Return lengths of samples that fill the window, and of samples that do not."""
    return [[steps, steps, steps], [steps, max(1, steps - 1), 1]]


@pytest.mark.parametrize("model", MODELS)
def test_a_step_of_every_model_waits_for_no_device(model: str) -> None:
    experiment, _ = compose_experiment([f"model={model}", *NEEDED.get(model, ())], None)
    session = Session(experiment, skip_target_check=True)
    data, loss = session.settings, session.loss
    loss.bind(LossContext(session.built, data.frame_shape, data.step_ms, data.steps, data.num_classes))
    targets = loss.supported_targets[0]
    module = SpikingModule(
        session.built,
        loss,
        session.optimization[0],
        None,
        num_classes=data.num_classes,
        dt=data.step_ms,
        seed=0,
        targets=targets,
    )
    for lengths in lengths_of(data.steps):
        train_step(module, meta_batch(data.steps, data.frame_shape, targets, data.num_classes, lengths))


def sgd(network: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([*network.parameters(), torch.nn.Parameter(torch.zeros(1))], lr=0.1)


def module_of(built: BuiltNetwork, in_shape: tuple[int, ...], steps: int, node: dict[str, Any], classes: int) -> Any:
    loss = build_loss(node)
    loss.bind(LossContext(built, in_shape, 2.0, steps, classes))
    return SpikingModule(
        built, loss, sgd, None, num_classes=classes, dt=2.0, seed=0, targets=loss.supported_targets[0]
    )


def run_layers(layers: dict[str, dict[str, Any]], in_shape: tuple[int, ...], node: dict[str, Any]) -> None:
    torch.manual_seed(0)
    built = build_network(layers, in_shape=in_shape, dt=2.0, num_steps=T)
    (classes,) = [*built.shapes.values()][-1]
    module = module_of(built, in_shape, T, node, classes)
    for lengths in lengths_of(T):
        train_step(module, meta_batch(T, in_shape, module.loss.supported_targets[0], classes, lengths))


@pytest.mark.parametrize("kind", [*NEURONS, *(f"{name}-recurrent" for name in STEPWISE)])
def test_a_step_of_every_neuron_waits_for_no_device(kind: str) -> None:
    name, _, recurrent = kind.partition("-")
    settings = {"type": name} | ({"recurrent": True} if recurrent else {})
    layers = {"neuron": settings, "out": OUT}
    run_layers(layers, (INPUTS,), {"type": "cross_entropy"})


@pytest.mark.parametrize("kind", MINIMAL)
def test_a_step_of_every_layer_waits_for_no_device(kind: str) -> None:
    in_shape, settings = MINIMAL[kind]
    layers = {"layer": {"type": kind.split(" ")[0], **settings}, "flat": {"type": "flatten"}, "out": OUT}
    run_layers(layers, in_shape, {"type": "cross_entropy"})


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_step_of_every_loss_waits_for_no_device(name: str) -> None:
    node = {"type": name, **SETTINGS.get(name, {})}
    run_layers(SPIKING, (INPUTS,), {"type": "cross_entropy", "regularizers": {"own": node}} if name in REGULARIZERS else node)
