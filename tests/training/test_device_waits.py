"""A step of a training reads no value of its device: PyTorch's device `meta`, which has no values, runs all of it.

A GPU is waited for at each read. `meta` refuses the read, and tensors of other devices, so it shows the reads of a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, get_args

import lightning as L
import numpy as np
import pytest
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import nn
from torch.utils.data import DataLoader

from snnlab.config.compose import compose_experiment
from snnlab.config.folders import config_folder
from snnlab.data.events.frames import Batch, EventBatch
from snnlab.data.events.recording import Events
from snnlab.data.events.representation import REPRESENTATIONS, FrameBuilder, Region, Steps
from snnlab.data.mixing import MIXES
from snnlab.nn import NEURONS, BuiltNetwork, build_network
from snnlab.nn.checkpointing import MANY_SEGMENTS
from snnlab.nn.learning import BPTT
from snnlab.nn.losses import LOSSES, REGULARIZERS, LossContext, Readout, ValueReadout, build_loss
from snnlab.session import Session
from snnlab.target_kinds import Targets
from snnlab.training.layer_schedules import LayerSchedules
from snnlab.training.module import SpikingModule, TrainingOptions
from snnlab.training.progress import Timing

from ..config.test_packaged import NEEDED
from ..nn.layers import test_contract as layers_contract
from ..nn.losses.conftest import INPUTS, SETTINGS, SPIKING, K, T
from ..nn.neurons import test_contract as neurons_contract

META = torch.device("meta")
MODELS = sorted(path.stem for path in (config_folder() / "model").glob("*.yaml"))
OUT = {"type": "linear", "out_features": K}


def meta_batch(lengths: list[int], steps: int, shape: tuple[int, ...], targets: Targets, classes: int) -> Batch:
    """Return a batch as the data module leaves it on a device: its lengths are in host memory too."""
    size = len(lengths)
    sizes = {"class": (size,), "value": (size, classes), "steps": (steps, size), "series": (steps, size, classes)}
    dtype = torch.float32 if targets in ("value", "series") else torch.int64
    with META:
        index = torch.zeros(size, dtype=torch.int64)
        x = torch.zeros(steps, size, *shape)
        return Batch(x, index, torch.zeros(sizes[targets], dtype=dtype), index, host_lengths=lengths)


def sgd(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr=0.1)


def module_of(
    built: BuiltNetwork,
    in_shape: tuple[int, ...],
    node: Mapping[str, Any],
    make_optimizer: Callable[..., Any] = sgd,
    tbptt_window: int | None = None,
) -> SpikingModule:
    loss, (classes,) = build_loss(node), next(reversed(built.shapes.values()))
    loss.bind(LossContext(built, in_shape, 2.0, T, classes))
    loss.set_class_counts(torch.ones(classes))
    targets = loss.supported_targets[0]
    rule = BPTT()
    rule.window = tbptt_window
    options = TrainingOptions(rule)
    return SpikingModule(
        built, loss, make_optimizer, None, num_classes=classes, dt=2.0, seed=0, targets=targets, options=options
    )


def train(module: SpikingModule, steps: int, in_shape: tuple[int, ...], outputs: int = K) -> None:
    """Train, validate and compute the metrics on the device, with samples that fill the window, and that do not."""
    module.to(META).train()
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        world_size=1, accumulate_grad_batches=1, log_every_n_steps=1000, should_stop=False, global_step=0
    )
    optimizer = module.make_optimizer(module.network)
    for lengths in ([steps] * 3, [steps, max(1, steps - 1), 1]):
        batch = meta_batch(lengths, steps, in_shape, module.loss.supported_targets[0], outputs)
        module.training_step(batch, 0).backward()
    torch.nn.utils.clip_grad_norm_(module.network.parameters(), 1.0)
    optimizer.step()
    module.eval()
    with torch.no_grad():
        module.validation_step(batch, 0)
    for stage in ("train", "val"):
        metrics = module.metrics[f"{stage}_metrics"]
        assert all(value.is_meta for value in metrics.collect().values())  # type: ignore[operator]


@pytest.mark.slow  # they are of the layers and neurons below
@pytest.mark.parametrize("model", MODELS)
def test_no_model_waits(model: str) -> None:
    experiment, _ = compose_experiment([f"model={model}", *NEEDED.get(model, ())], None)
    session = Session(experiment, skip_target_check=True)
    data = session.settings
    module = module_of(session.built, data.frame_shape, experiment.loss, session.optimization[0])
    train(module, data.steps, data.frame_shape, data.num_classes)


def train_layers(
    layers: dict[str, dict[str, Any]],
    in_shape: tuple[int, ...] = (INPUTS,),
    node: dict[str, Any] | None = None,
    *,
    checkpoint_segments: int = 0,
    tbptt_window: int | None = None,
) -> None:
    torch.manual_seed(0)
    built = build_network(layers, in_shape=in_shape, dt=2.0, num_steps=T)
    built.network.configure(checkpoint_segments=checkpoint_segments)
    train(module_of(built, in_shape, node or {"type": "cross_entropy"}, tbptt_window=tbptt_window), T, in_shape)


NODES = {name: {"type": name} for name in NEURONS} | neurons_contract.DIALECTS
NODES["alif, adaptive"] = {"type": "alif", "adaptive": 2}


@pytest.mark.long
@pytest.mark.parametrize("name", list(NODES))
def test_no_neuron_waits(name: str) -> None:
    """As it is, with all that it can learn, per layer and per neuron, and with feedback."""
    node = NODES[name]
    settings = {key: value for key, value in node.items() if key != "type"}
    neuron = NEURONS.build(node["type"], settings, "", in_shape=(INPUTS,), dt=2.0, num_steps=T)
    layers = {"plain": node}
    if learnable := getattr(neuron, "learnable", dict)():
        layers |= {per: {**node, "learn": dict.fromkeys(learnable, per)} for per in ("layer", "neuron")}
    if node["type"] not in neurons_contract.PARALLEL:
        layers["recurrent"] = {**node, "recurrent": True}
    between = {f"after_{name}": {"type": "linear", "out_features": INPUTS} for name in layers}
    pairs = zip(layers.items(), between.items(), strict=True)
    train_layers({**{name: layer for pair in pairs for name, layer in pair}, "out": OUT})


@pytest.mark.long
@pytest.mark.parametrize("kind", [*layers_contract.MINIMAL, *sorted(layers_contract.WHOLE)])
def test_no_layer_waits(kind: str) -> None:
    in_shape, settings = layers_contract.MINIMAL.get(kind, ((INPUTS,), {}))
    before, layer = {"type": "linear", "out_features": in_shape[-1]}, {"type": kind.split()[0], **settings}
    train_layers({"before": before, "layer": layer, "flat": {"type": "flatten"}, "out": OUT}, in_shape)


VARIANTS: dict[str, list[dict[str, Any]]] = {
    "cross_entropy": [
        *({"readout": readout} for readout in get_args(Readout)),
        *({"class_weight": weight} for weight in ("balanced", [1.0, 2.0, 0.5])),
        {"label_smoothing": 0.1, "from_step": 2},
    ],
    "mse": [{"readout": readout} for readout in get_args(ValueReadout)],
}


@pytest.mark.parametrize("name", list(LOSSES))
def test_no_loss_and_no_regularizer_waits(name: str) -> None:
    for variant in VARIANTS.get(name, [{}]):
        node = {"type": name, **SETTINGS.get(name, {}), **variant}
        with_own = {"type": "cross_entropy", "regularizers": {"own": node}}
        train_layers(SPIKING, node=with_own if name in REGULARIZERS else node)


def test_neither_segments_nor_windows_of_time_wait() -> None:
    """Fewer segments do: what is saved as uint8 is compared with the spikes, because a wrong gradient is worse."""
    train_layers(SPIKING, checkpoint_segments=MANY_SEGMENTS)
    train_layers(SPIKING, tbptt_window=4)


def events(on: torch.device) -> EventBatch:
    rng, recordings = np.random.default_rng(0), []
    for end in (300, 1000, 700):
        x, y = rng.integers(0, 6, (2, 40)).astype(np.int16)
        recordings.append(Events(np.sort(rng.integers(0, end, 40)), x, y, rng.random(40) < 0.5))
    return move_data_to_device(EventBatch.of(recordings), on)


BY_TIME, BY_COUNT = Steps(1000, 7), Steps(1000, 7, bin_by="count", events_per_bin=7)


@pytest.mark.parametrize("kind", list(REPRESENTATIONS))
@pytest.mark.parametrize(("steps", "length_from"), [(BY_TIME, "window"), (BY_TIME, "recording"), (BY_COUNT, "window")])
def test_no_frames_and_no_mixing_wait(kind: str, steps: Steps, length_from: Any) -> None:
    if REPRESENTATIONS.get(kind, "").needs_times and steps is BY_COUNT:  # type: ignore[attr-defined]
        return
    region = Region((6, 6, 2), crop=(0, 0, 4, 5), hot=torch.arange(36) == 7)
    build = FrameBuilder(region, steps, REPRESENTATIONS.build(kind, {}, "frames"), length_from)
    on_host = build(events(torch.device("cpu")))
    lengths = build.host_lengths(events(torch.device("cpu")))
    assert lengths == on_host.host_lengths == on_host.lengths.tolist()
    assert (min(lengths) < 7) == (build.length_from == "recording" or steps is BY_COUNT)
    batch = build(events(META)._replace(host_lengths=lengths))
    assert (batch.x.shape, batch.host_lengths) == (on_host.x.shape, lengths)
    for mix in MIXES:
        mixing = MIXES.build(mix, {}, "data.mix")
        mixed, expected = (mixing(each, np.random.default_rng(0)) for each in (batch, on_host))  # type: ignore[operator]
        assert mixed.host_lengths == expected.lengths.tolist()


class _ToMeta(L.Callback):
    """Moves the training to the device when it starts: before and after it, Lightning reads values."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.strategy._root_device = META  # type: ignore[attr-defined]
        pl_module.to(META)


def test_lightning_trains_an_epoch_without_waiting(
    quiet_trainer: Callable[..., L.Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With clipped and accumulated gradients, a validation, and a loss for loggers at each second step."""
    layers = {**SPIKING, "lif": {"type": "masked_psn", "masking": 0.0, "masking_rise": 0.5}}
    built = build_network(layers, in_shape=(INPUTS,), dt=2.0, num_steps=T)
    module = module_of(built, (INPUTS,), {"type": "cross_entropy"})
    batches = DataLoader([meta_batch([T, 4, 1], T, (INPUTS,), "class", K)] * 5, batch_size=None)  # type: ignore[arg-type]
    timing = Timing(0.0)
    trainer = quiet_trainer(
        callbacks=[_ToMeta(), timing, LayerSchedules(built.network)],
        max_epochs=2,
        gradient_clip_val=1.0,
        accumulate_grad_batches=2,
        log_every_n_steps=2,
    )
    monkeypatch.setattr(trainer, "_teardown", lambda: None)  # moves all to the CPU
    trainer.fit(module, batches, batches)
    assert timing.samples == 2 * 5 * 3
    assert all(value.is_meta for name, value in trainer.callback_metrics.items() if name != "lr")
