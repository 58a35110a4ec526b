"""Spyx' network, compiled by JAX: forward, backward and Adam as one function.

Axes: T steps, B samples; channels come last.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import numpy as np
import optax  # pyright: ignore[reportMissingImports]
import torch
from flax import nnx  # pyright: ignore[reportMissingImports]
from jax import numpy as jnp  # pyright: ignore[reportMissingImports]
from spyx import nn as snn  # pyright: ignore[reportMissingImports]
from stepbench.methods import Method, Variant
from stepbench.training import Answer, Training, input_scale
from stepbench.work import CLASSES, Workload, frames, set_weights, targets
from torch import Tensor

SHAPES = ((12, 2, 5, 5), (32, 12, 5, 5), (CLASSES, 800))


class JaxTraining(Training):
    """A network of Spyx; its beta is not trained, as in snnlab's."""

    def __init__(self, method: Method, variant: Variant, work: Workload, device: str) -> None:
        self.work, self.folded = work, variant.form == "folded"
        shapes = SHAPES if work.kind == "conv" else ((work.neurons, work.inputs),)
        self.torch_weights = [torch.empty(shape, requires_grad=True) for shape in shapes]
        set_weights(self.torch_weights, input_scale(method), work)
        self.definition, self.weights, self.rest = nnx.split(model(work), nnx.PathContains("kernel"), ...)
        kernels = [jnp.asarray(kernel(weight).detach().numpy()) for weight in self.torch_weights]
        self.weights = jax.tree.unflatten(jax.tree.structure(self.weights), kernels)
        self.x, self.targets = jnp.asarray(last(frames(work)).numpy()), jnp.asarray(targets(work).numpy())
        adam = optax.adam(1e-3)
        self.state = adam.init(self.weights)

        def step(weights: Any, state: Any, x: jax.Array) -> Any:
            gradients, _ = jax.grad(self.loss, has_aux=True)(weights, x)
            updates, state = adam.update(gradients, state, weights)
            return optax.apply_updates(weights, updates), state

        self.train = jax.jit(step)

    def step(self) -> float:
        """Train one step and return its seconds."""
        started = time.perf_counter()
        self.weights, self.state = jax.block_until_ready(self.train(self.weights, self.state, self.x))
        return time.perf_counter() - started

    def answer(self) -> Answer:
        """Return outputs and gradients; each layer of neurons delays by a step, so the input has as many more."""
        no_spikes = jnp.zeros_like(self.x[: 2 if self.work.kind == "conv" else 1])
        gradients, y = jax.grad(self.loss, has_aux=True)(self.weights, jnp.concatenate([self.x, no_spikes]))
        for weight, gradient in zip(self.torch_weights, jax.tree.leaves(gradients), strict=True):
            kernel(weight).backward(torch.from_numpy(np.array(gradient)))
        return Answer(torch.from_numpy(np.array(y)), [w.grad for w in self.torch_weights if w.grad is not None])

    def loss(self, weights: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the cross-entropy, and the mean outputs."""
        network = nnx.merge(self.definition, weights, self.rest)
        if self.folded:
            for layer in network.layers:
                x = snn.run(layer, x)[0] if isinstance(layer, snn.LIF) else fold_time(layer, x)
        else:
            x, _ = snn.run(network, x)
        y = x.sum(0) / self.work.steps
        return optax.softmax_cross_entropy_with_integer_labels(y, self.targets).mean(), y


def model(work: Workload) -> snn.Sequential:
    """Return the layers."""
    rngs = nnx.Rngs(0)

    def lif(*shape: int) -> snn.LIF:
        return snn.LIF(shape, beta=0.9, rngs=rngs)

    if work.kind == "dense":
        return snn.Sequential(nnx.Linear(work.inputs, work.neurons, use_bias=False, rngs=rngs), lif(work.neurons))
    pool = partial(nnx.max_pool if work.pool == "max" else nnx.avg_pool, window_shape=(2, 2), strides=(2, 2))
    conv = [nnx.Conv(*n, (5, 5), padding="VALID", use_bias=False, rngs=rngs) for n in ((2, 12), (12, 32))]
    parts = [conv[0], lif(30, 30, 12), pool, conv[1], lif(11, 11, 32), pool, snn.Flatten()]
    return snn.Sequential(*parts, nnx.Linear(800, CLASSES, use_bias=False, rngs=rngs))


def kernel(weight: Tensor) -> Tensor:
    """Return a weight of PyTorch in JAX's format; the readout's inputs are those of flattened channels-last images."""
    if weight.dim() == 4:
        return weight.permute(2, 3, 1, 0)
    return (weight.unflatten(1, (32, 5, 5)).movedim(1, -1).flatten(1) if weight.shape == SHAPES[2] else weight).T


def last(x: Tensor) -> Tensor:
    """Return frames with their channels last."""
    return x.movedim(2, -1).contiguous() if x.dim() == 5 else x


def fold_time(layer: Any, x: jax.Array) -> jax.Array:
    """Apply a layer to all steps as one batch."""
    return (y := layer(x.reshape(-1, *x.shape[2:]))).reshape(*x.shape[:2], *y.shape[1:])
