"""Builds the network of a checked experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from snnlab.config.schema import Experiment
from snnlab.data.data_settings import DataSettings, read_shared_settings
from snnlab.errors import ConfigError, error_context
from snnlab.nn import INITS, INTEGER_TARGETS, NEURONS, BuiltNetwork, build_network
from snnlab.nn.kernel_sources import require_kernels
from snnlab.nn.neurons.base import set_backend
from snnlab.nn.plan import SparseInput
from snnlab.nn.quantization import end_with_readout, quantize_network
from snnlab.seeds import Stream, derived_seed
from snnlab.training import optimizer


def make_network(experiment: Experiment, data: DataSettings) -> BuiltNetwork:
    """Build the network for the shape of the data's frames, with the run's seed, and check its output shape."""
    if experiment.neuron is not None:  # first alone, so that an error has the place where the user made it
        settings = {key: value for key, value in experiment.neuron.items() if key != "type"}
        kind = experiment.neuron.get("type")
        with torch.device("meta"):  # only for checks: real recurrent weights of this shape may not fit into memory
            NEURONS.build(kind, settings, "neuron", in_shape=data.frame_shape, dt=data.step_ms, num_steps=data.steps)
    torch.manual_seed(derived_seed(experiment.seed, Stream.INIT))
    layers = experiment.model["layers"]
    built = build_network(layers, in_shape=data.frame_shape, dt=data.step_ms, num_steps=data.steps)
    set_backend(built.network, experiment.backend)
    if experiment.backend == "numba":  # an error now, before data are read, instead of at the first step
        require_kernels(built)
    sparse: dict[str | bool, SparseInput] = {False: "never", True: "always", "auto": "auto"}
    built.network.configure(fuse=experiment.fuse, sparse_input=sparse[experiment.sparse_input])
    built.network.configure(checkpoint_segments=experiment.checkpoint_segments)
    if experiment.model.get("init") is not None:
        _initialize_weights(built, experiment.model["init"], data)
    if experiment.quantize is not None:
        precision = str(experiment.trainer.get("precision") or 32)
        if precision not in ("32", "32-true"):
            raise ConfigError("trainer.precision", f"{precision} rounds whole numbers", "set trainer.precision=32-true")
        settings = dict(experiment.quantize)
        target = INTEGER_TARGETS.build(settings.pop("type", None), settings, "quantize")
        end_with_readout(built.network, target)
        quantize_network(built.network, target, input_denominator=read_shared_settings(experiment.data).denominator())
    freeze(experiment, built.network)
    name, shape = next(reversed(built.shapes.items()))
    if shape != (data.num_classes,):
        hint = "is a flatten layer missing before the last linear one?" if len(shape) > 1 else ""
        hint = hint or _outputs_hint(built, data.num_classes)
        raise ConfigError(
            f"model.layers.{name}",
            (
                f"the network ends with shape {list(shape)} at each step, but data.num_classes needs"
                f" [{data.num_classes}]"
            ),
            hint,
        )
    return built


def _outputs_hint(built: BuiltNetwork, num_classes: int) -> str:
    """Return the setting that gives a network as many outputs as there are classes; a vote needs several for each."""
    (outputs,) = next(reversed(built.shapes.values()))
    assert built.network.built_from is not None
    layers = [name for name, node in built.network.built_from.layers.items() if "out_features" in node]
    if not layers:
        return ""
    needed = num_classes * (built.shapes[layers[-1]][-1] // outputs)
    return f"set model.layers.{layers[-1]}.out_features={needed}"


def _initialize_weights(built: BuiltNetwork, node: Any, data: DataSettings) -> None:
    if not isinstance(node, Mapping):
        raise ConfigError("model.init", f"expected a mapping such as {{type: fluctuation_driven}}, got {node!r}")
    settings = dict(node)
    initialize = INITS.build(settings.pop("type", None), settings, "model.init", dt=data.step_ms)
    with error_context("model.init"):
        done = initialize(built.network)
    if not done:
        raise ConfigError(
            "model.init", "no layer with weights is before a spiking neuron, so there is nothing to initialize"
        )


def freeze(experiment: Experiment, network: nn.Module) -> list[nn.Module]:
    """Freeze the parameters of `freeze`, and return the layers that stay in eval mode."""
    with error_context("freeze"):
        return optimizer.freeze(network, experiment.freeze)
