"""Compares a method's outputs and gradients with those of snnlab's plain loop of the same neuron, before any timing."""

from __future__ import annotations

from typing import Any

import torch
from stepbench.methods import METHODS, Method, SnnlabNetwork, Tolerance, snnlab_method
from stepbench.training import Answer, Training, training
from stepbench.work import BenchError, Workload

STEPS, BATCH = 10, 4
LEAST_RATE = 0.01  # spikes per neuron and step: without spikes, equal outputs prove nothing


def check(name: str, work: Workload, device: str) -> list[dict[str, Any]]:
    """Compare a method with the plain loop on a small input; return the errors of each of its variants.

    Raises:
        BenchError: if they differ by more than rounding.
    """
    method = METHODS[name]
    if method.neuron is None:
        return []
    found = _compared(name, method, work._replace(steps=STEPS, batch=BATCH, spikes="busy"), device)
    # The code that snnlab runs depends on the number of spikes.
    if method.backend is not None and work.spikes != "busy":
        found += _compared(name, method, work._replace(steps=STEPS, batch=BATCH), device)
    return found


def _compared(name: str, method: Method, small: Workload, device: str) -> list[dict[str, Any]]:
    assert method.neuron is not None
    reference = snnlab_method(method.neuron, "reference")
    expected, found = reference_answer(reference, small, device), []
    for variant in method.variants(small):
        given = training(method, variant, small, device).answer()
        exact = method.backend is not None and method.tolerance == Tolerance()
        if exact and not torch.equal(given.outputs, expected.outputs):
            raise BenchError(f"{name}: its outputs are not those of the plain loop; nothing was timed")
        errors = compare(f"{name} ({variant})", given, expected, method.tolerance)
        found.append({"method": name, "variant": str(variant), "spikes": small.spikes, "errors": errors})
    return found


def reference_answer(reference: Method, work: Workload, device: str) -> Answer:
    """Return outputs and gradients of the plain loop; all its layers must spike."""
    plain = Training(reference, reference.variants(work)[0], work, device)
    assert isinstance(plain.network, SnnlabNetwork)
    counts: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        plain.network(plain.x, counts=counts)
    rates = [round(n.mean().item() / work.steps, 4) for n in counts.values()]
    if work.spikes == "busy" and min(rates) < LEAST_RATE:
        raise BenchError(f"the network is silent, {rates} spikes a step: nothing could be compared, nothing was timed")
    return plain.answer()


def compare(name: str, given: Answer, expected: Answer, tolerance: Tolerance) -> dict[str, float]:
    """Return the largest errors of outputs and gradients, relative to the largest value.

    Raises:
        BenchError: if too many of them are too large.
    """
    pairs = [("outputs", given.outputs, expected.outputs, tolerance.outputs)]
    for n, (theirs, plain) in enumerate(zip(given.gradients, expected.gradients, strict=True), 1):
        pairs.append((f"gradient {n}", theirs, plain, tolerance.gradients))
    errors = {}
    for what, theirs, plain, most in pairs:
        error = (theirs - plain).abs() / plain.abs().max()
        errors[what] = error.max().item()
        share = (error <= most).float().mean().item()  # nan is never within
        if share < tolerance.share:
            raise BenchError(
                f"{name} is not snnlab's network: {share:.2%} of the {what} are within {most:g} of the largest,"
                f" the largest error is {errors[what]:.2g}; nothing was timed"
            )
    return errors
