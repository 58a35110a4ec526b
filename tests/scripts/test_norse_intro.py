"""Norse's introduction in snnlab, compared with Norse."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from ..refusals import assert_text_has

pytestmark = pytest.mark.long  # trains

SCRIPT = Path(__file__).parents[2] / "scripts" / "norse_intro.py"


@pytest.fixture(scope="module")
def intro() -> ModuleType:
    spec = importlib.util.spec_from_file_location("norse_intro", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def as_released(intro: ModuleType) -> Any:
    """Return the lesson with the surrogate that Norse 1.1.0 uses for any alpha."""
    return intro.run_lesson(0, ["neuron.surrogate.alpha=1"])


def test_one_step_is_silent_and_32_are_not(as_released: Any) -> None:
    assert as_released.first.shape == (8, 10)
    assert not as_released.first.any()
    assert as_released.before.shape == (32, 8, 10)
    active = as_released.before.flatten(1).any(1)
    assert int(active.nonzero()[0]) == 19
    assert as_released.before[-1].sum().item() == pytest.approx(-0.07823, abs=5e-5)


def test_the_network_is_the_introductions(as_released: Any) -> None:
    network = as_released.network
    assert [type(layer).__name__ for layer in network.children()] == [
        "Conv2d",
        "CubaLIF",
        "Conv2d",
        "CubaLIF",
        "Flatten",
        "Linear",
    ]
    assert sum(p.numel() for p in network.parameters()) == 35_148


@pytest.mark.peers
def test_outputs_and_gradients_are_those_of_norse(as_released: Any) -> None:
    pytest.importorskip("norse")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit.script, at import
        import norse.torch as norse

    torch.manual_seed(0)
    data = torch.randn(8, 3, 28, 28)
    model = norse.SequentialState(
        nn.Conv2d(3, 6, 7, 1),
        norse.LIFCell(),
        nn.Conv2d(6, 12, 7, 1),
        norse.LIFCell(),
        nn.Flatten(1),
        nn.Linear(3072, 10, bias=False),
    )
    assert torch.equal(data, as_released.data)
    outputs, output, state = [], torch.empty(0), None
    for _ in range(32):
        output, state = model(data, state)
        outputs.append(output)
    ours = as_released.before
    torch.testing.assert_close(ours, torch.stack(outputs).detach(), rtol=1e-5, atol=1e-5)

    optimizer = torch.optim.RMSprop(model.parameters())
    (1 - outputs[-1].sum()).backward()
    names = {"0": "conv1", "2": "conv2", "5": "out"}
    theirs = {
        f"{names[name.split('.')[0]]}.{name.split('.')[1]}": float(p.grad.norm())
        for name, p in model.named_parameters()
        if p.grad is not None
    }
    assert as_released.gradients == pytest.approx(theirs, rel=1e-4)
    optimizer.step()
    state = None
    with torch.no_grad():
        for _ in range(32):
            output, state = model(data, state)
    assert as_released.after[-1].sum().item() == pytest.approx(output.sum().item(), rel=1e-3)


def test_the_documented_surrogate_gives_the_gradient_that_norse_meant(intro: ModuleType) -> None:
    lesson = intro.run_lesson(0)
    assert lesson.gradients["conv1.weight"] == pytest.approx(0.0574173, rel=1e-3)  # Norse's HEAD, which honours alpha


@pytest.mark.slow
def test_as_a_command_it_writes_its_plots(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--folder", tmp_path], capture_output=True, text=True, check=True)
    assert_text_has(done.stdout, "32 steps", "step 19")
    assert_text_has(done.stdout, "step 19 of 32")
    assert {path.name for path in tmp_path.iterdir()} == {"image.png", "outputs.png"}
