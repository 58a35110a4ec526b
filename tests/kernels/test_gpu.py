"""The rendered Triton kernels in Triton's interpreter on the CPU, and compiled on a GPU.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import EXACT, INTEGRATING, LEARNED, SPIKING, KernelCase, build, pairwise
from equality import CASES, assert_kernel_equals_loop, dialects, title
from loop_layers import ALIF_RESETS, DIALECTS, RESETS, alif, recurrent
from loops import SURROGATES, assert_equals_loop, drive, nonzero_state, outcome, perturbed
from omegaconf import OmegaConf
from torch import Tensor

from snnlab.errors import SnnlabError
from snnlab.kernels import function
from snnlab.nn import NEURONS

from ..marks import mostly_long
from ..refusals import assert_raises

pytest.importorskip("triton", reason="the kernels for GPUs need triton")

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
interpreted = pytest.mark.skipif(GPU, reason="with a GPU the kernels are compiled, and tested by pytest -m gpu")

T, B = 5, 3
LENGTHS = torch.tensor([0, T, 3])
run = partial(function.run, backend="triton")


@pytest.fixture(autouse=True)
def _on_any_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the backend triton without a GPU: in Triton's interpreter, enabled when a kernel's module is loaded."""
    if not GPU:
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        resolve_backend = function.resolve_backend
        monkeypatch.setattr(
            function,
            "resolve_backend",
            lambda backend, *given: backend if backend == "triton" else resolve_backend(backend, *given),
        )


def _params() -> Iterator[Any]:
    # Few steps, since each takes a thousand times as long as on a GPU; 500 neurons are two blocks, one of them partly
    # filled.
    for choice in dialects(EXACT | {"T": 5, "shape": "image"}, threshold=SPIKING["threshold"]):
        yield pytest.param(partial(build, choice, exact=True), id="exact-" + title(choice, tuple(choice)[-4:]))
    for choice in dialects(LEARNED | {"T": 5}):
        yield pytest.param(partial(build, choice), id="learned-" + title(choice, tuple(choice)[-3:]))
    for axes in (SPIKING, INTEGRATING):
        for choice in pairwise({**axes, "T": [5, 1]}):
            yield pytest.param(partial(build, choice), id=title(choice, choice))


@interpreted
@pytest.mark.parametrize("case", mostly_long(list(_params()), 8, 40))
def test_it_equals_the_plain_loop(case: Callable[[], KernelCase]) -> None:
    assert_kernel_equals_loop(run, case())


SEVERAL: dict[str, Any] = {"tau_mem": "4 steps", "input_gain": "1-a", "spikes": "several", "detach_reset": False}
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("adlif", {"tau_mem": 6.0, "a": 0.3, "b": 0.5, "detach_reset": False}),
    ("lsnn", {"tau_mem": 6.0, "detach_reset": False}),
    ("cuba_lif", SEVERAL | {"synapse": "decay_first", "tau_syn": "3 steps", "v_threshold": 0.2, "floor": -0.2}),
    ("snntorch_alpha", {"reset": "subtract"}),
    ("snntorch_alpha", {}),
    *(("alif", ALIF_RESETS[reset] | {"tau_adapt": 20.0, "detach_reset": False}) for reset in ALIF_RESETS),
]


@interpreted
@pytest.mark.parametrize(("kind", "settings"), OTHERS, ids=str)
def test_every_neuron_equals_the_plain_loop(kind: str, settings: dict[str, Any]) -> None:
    neuron = NEURONS.build(kind, dict(settings), "n", in_shape=(7,), dt=1.0)
    if hasattr(neuron, "learnable"):
        own = settings | {"learn": dict.fromkeys(neuron.learnable(), "neuron")}
        neuron = perturbed(NEURONS.build(kind, own, "n", in_shape=(7,), dt=1.0))
    x = drive(T, B, 7) * 2.0
    assert_equals_loop(neuron, x, nonzero_state(neuron, x), LENGTHS, "triton")


# Every neuron that a YAML names, but those that compute all steps at once.
CONFIGS = Path(__file__).parents[2] / "configs" / "neuron"
NO_STEPS = {"psn", "masked_psn", "sliding_psn"}
PRESETS = sorted({path.stem for path in CONFIGS.glob("*.yaml")} - NO_STEPS)


def preset(name: str, per: str, shape: tuple[int, ...]) -> Any:
    """Return a preset; with `per`, it learns all that it can."""
    settings: Any = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{name}.yaml"))
    kind, own = settings.pop("type"), {"in_shape": shape, "dt": 1.0}
    chooses = "learn" in settings and not isinstance(settings["learn"], bool)
    settings |= {"learn": None} if chooses else {}
    made = NEURONS.build(kind, dict(settings), "n", **own)
    if per and chooses:
        settings["learn"] = dict.fromkeys(getattr(made, "neuron", made).learnable(), per)
        made = NEURONS.build(kind, dict(settings), "n", **own)
    return perturbed(made)


def assert_preset_equals_loop(name: str, per: str, shape: tuple[int, ...], num_steps: int, lengths: Tensor) -> None:
    """Compare a preset's outputs, states and gradients with the plain loop's, in both precisions."""
    for dtype in (torch.float32, torch.float64):
        neuron = preset(name, per, shape).to(DEVICE, dtype)
        x = drive(num_steps, len(lengths), *shape, dtype=dtype).to(DEVICE) * 2.0
        assert_equals_loop(neuron, x, nonzero_state(neuron, x), lengths, "triton")
        assert_equals_loop(neuron, x, backend="triton")


FIXED_AND_LEARNED = [pytest.param(n, ("", "neuron")[at % 2], id=f"{n}-{at % 2}") for at, n in enumerate(PRESETS)]


@pytest.mark.long
@interpreted
@pytest.mark.parametrize(("name", "per"), mostly_long(FIXED_AND_LEARNED, 3, 14))
def test_every_preset_equals_the_plain_loop(name: str, per: str) -> None:
    assert_preset_equals_loop(name, per, (7,), T, LENGTHS)


@interpreted
@pytest.mark.parametrize(("kind", "reset", "detach"), mostly_long(DIALECTS, 2, 12))
def test_recurrent_neurons_equal_the_plain_loop(kind: str, reset: str, detach: bool) -> None:
    feedback = ("dense", "conv")[DIALECTS.index((kind, reset, detach)) % 2]
    rec: Any = recurrent(kind, feedback, per="neuron", detach_reset=detach, **RESETS[reset])
    x = drive(T, B, *rec.neuron.learned["v_threshold"].shape)
    assert_equals_loop(rec, x, nonzero_state(rec, x), LENGTHS, "triton")
    assert_equals_loop(rec, x, backend="triton")


@interpreted
def test_memory_with_channels_last_is_kept_and_gaps_run() -> None:
    neuron = alif("adapted", (2, 5, 3), "neuron", detach_reset=False)
    x = drive(T, B, 2, 5, 3).flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (T, B))
    assert_equals_loop(neuron, x, nonzero_state(neuron, x), LENGTHS, "triton")
    assert neuron(x)[0].flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert_equals_loop(alif(), drive(T, B, 14)[..., ::2], lengths=LENGTHS, backend="triton")


@interpreted
@pytest.mark.parametrize("shape", [(1, 3, 1), (5, 2, 300), (5, 0, 6), (5, 4)], ids=str)
def test_every_size_runs(shape: tuple[int, ...]) -> None:
    neuron, x = alif("value", shape[2:], "neuron" if shape[2:] else "layer", detach_reset=False), drive(*shape)
    assert_equals_loop(neuron, x, nonzero_state(neuron, x), backend="triton")


@interpreted
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_a_second_backward_gives_the_same_and_a_second_derivative_is_refused(surrogate: str) -> None:
    neuron = alif("value", per="neuron", detach_reset=False, surrogate=SURROGATES[surrogate])
    neuron.backend = "triton"
    x = drive(T, B, 7).requires_grad_()
    loss = neuron(x)[0].square().sum()
    inputs = [x, *neuron.parameters()]
    first = torch.autograd.grad(loss, inputs, retain_graph=True)
    for one, other in zip(first, torch.autograd.grad(loss, inputs, retain_graph=True), strict=True):
        assert torch.equal(one, other)
    with assert_raises(SnnlabError, "", "derivatives"):
        torch.autograd.grad(loss, x, create_graph=True)


@interpreted
def test_without_gradients_the_outputs_are_the_same() -> None:
    neuron, x = alif("adapted"), drive(T, B, 7)
    with_graph = outcome(neuron, "triton", x, lengths=LENGTHS).outputs
    with torch.no_grad():
        y, (v, w) = neuron(x, lengths=LENGTHS)
    for part, name in ((y, "y"), (v, "state.v"), (w, "state.w")):
        assert torch.equal(part, with_graph[name])


@pytest.mark.slow
def test_compiled_for_a_gpu_no_neuron_contracts_a_product(tmp_path: Path) -> None:
    script = Path(__file__).with_name("triton_ahead.py")
    root = Path(__file__).parents[2]
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    env |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("if allowed") > 0
    assert len(found) == 9
    assert set(found.values()) == {0}


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_compiled_it_equals_the_plain_loop(case: Callable[[], KernelCase]) -> None:
    on_cpu = case()
    moved = {name: part.cuda() for name, part in on_cpu._asdict().items() if isinstance(part, Tensor)}
    assert_kernel_equals_loop(run, on_cpu._replace(neuron=on_cpu.neuron.cuda(), **moved))


@pytest.mark.gpu
@pytest.mark.parametrize(("kind", "settings"), OTHERS, ids=str)
def test_compiled_every_neuron_equals_the_plain_loop(kind: str, settings: dict[str, Any]) -> None:
    neuron = NEURONS.build(kind, dict(settings), "n", in_shape=(300,), dt=1.0).to(DEVICE)
    for dtype in (torch.float32, torch.float64):
        x = drive(63, 4, 300, dtype=dtype).to(DEVICE) * 2.0
        assert_equals_loop(neuron, x, nonzero_state(neuron, x), torch.tensor([0, 1, 63, 20]), "triton")


@pytest.mark.gpu
@pytest.mark.parametrize("per", ["", "neuron"], ids=["fixed", "learned"])
@pytest.mark.parametrize("name", PRESETS)
def test_compiled_every_preset_equals_the_plain_loop(name: str, per: str) -> None:
    assert_preset_equals_loop(name, per, (300,), 23, torch.tensor([0, 1, 23, 20]))


@pytest.mark.gpu
@pytest.mark.parametrize(("kind", "reset", "detach"), DIALECTS)
def test_compiled_recurrent_neurons_equal_the_plain_loop(kind: str, reset: str, detach: bool) -> None:
    rec = recurrent(kind, shape=(37,), per="neuron", detach_reset=detach, **RESETS[reset]).to(DEVICE)
    x = drive(13, 3, 37).to(DEVICE)
    assert_equals_loop(rec, x, nonzero_state(rec, x), torch.tensor([0, 13, 6]), "triton")
