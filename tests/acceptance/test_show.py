"""What docs/train.md and `snnlab show --help` promise: the network as tables or a figure, without data."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ..refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]

# A neuron of a user with an operation that no loop has.
SINE_LIF = """
import torch
from snnlab.nn import LIF, NEURONS

@NEURONS.register("sine_lif")
class SineLIF(LIF):
    def step(self, x, state, coefficients):
        return super().step(torch.sin(x), state, coefficients)
"""


def cells(text: str, first: str) -> list[str]:
    """Return the cells of the row that begins with `first`."""
    (line,) = [line for line in text.splitlines() if line.strip().startswith(f"{first} ")]
    return re.split(r" {2,}", line.strip())


def test_it_prints_layers_costs_constants_and_dependence_on_dt(workplace: Path, snnlab: Snnlab):
    done = snnlab("show", "data.num_bins=64")
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert_text_has(
        lines[0],
        "conv_lif_saccade_digits",
        "saccade_digits",
        "34 × 34 pixels",
        "2 polarities",
        "64 steps",
        "5 ms = 320 ms",
    )
    layers, neurons = done.out.split("Dense operations:")
    assert cells(layers, "conv1") == ["conv1", "conv2d", "12 × 30 × 30", "600", "540,000"]
    assert cells(layers, "pool1") == ["pool1", "max_pool", "12 × 15 × 15"]
    assert cells(layers, "total") == ["total", "18,200", "1,709,600"]
    assert_text_has(neurons, "109 million a recording", "64 steps")
    assert cells(neurons, "lif1") == ["lif1", "tau_mem", "20", "4", "0.7788", "1", "u ≥ 1", "subtract 1"]
    assert "depends" not in done.out


def test_it_warns_of_a_bias_which_acts_once_a_step(workplace: Path, snnlab: Snnlab):
    lines = snnlab("show", "model.layers.conv1.bias=true", "model.layers.out.bias=true").out.splitlines()
    assert_text_has("\n".join(lines), "conv1, out", "bias")


def test_it_prints_the_memory_of_a_training_step(workplace: Path, snnlab: Snnlab):
    lines = snnlab("show", "data.batch_size=16", "data.num_bins=64").out.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("  Training step")]
    assert_text_has(lines[at], "CPU", "batch of 16", "64 steps", "93 MB")
    assert_text_has(lines[at + 1], "75 MB", "frames 9.5 MB", "0.2 MB", "7.6 MB")


def test_the_memory_of_a_training_step_depends_on_recompute_and_optimizer(workplace: Path, snnlab: Snnlab):
    lines = snnlab("show", "checkpoint_segments=8", "optimizer._target_=torch.optim.LBFGS").out
    assert_text_has(lines, "32 steps")
    assert_text_has(lines, "torch.optim.LBFGS", "0.07 MB")


def test_an_impossible_step_is_reported_and_the_rest_is_shown(workplace: Path, snnlab: Snnlab):
    norm = "+model.layers.norm={type: batch_norm, per_step: true, after: out}"
    done = snnlab("show", norm, "data.batch_size=1")
    assert done.status == 0, done.err
    assert_text_has(done.out, "memory", "batch_norm", "1 value")
    assert cells(done.out, "norm")[1] == "batch_norm"


def test_the_plan_prints_fused_and_separate_layers(workplace: Path, snnlab: Snnlab):
    done = snnlab("show", "--plan", "sparse_input=true")
    assert done.status == 0, done.err
    rows = [re.split(r" {2,}", line.strip())[0] for line in done.out.splitlines()]
    assert [row for row in rows if "conv" in row or "lif" in row][1:] == ["conv1, lif1, pool1", "conv2", "lif2, pool2"]
    assert_text_has(done.out, "one loop", "events")
    done = snnlab("show", "--plan", "model=sew_resnet", "fuse=false")
    assert "block2.shortcut.lif" in done.out
    assert "lif1, pool1" not in done.out


def test_the_kernels_of_its_neurons_are_printed_or_why_there_are_none(workplace: Path, snnlab: Snnlab):
    shown = snnlab("show", "--kernels", "model=mlp_lif")
    assert shown.status == 0, shown.err
    assert "def " in shown.out
    (workplace / "sine_lif.py").write_text(SINE_LIF, encoding="utf-8")
    none = snnlab("show", "--kernels", "model=mlp_lif", "plugins=[sine_lif]", "neuron.type=sine_lif")
    assert none.status == 0, none.err
    assert_text_has(none.out, "plain loop", "SineLIF.step", "torch.sin")
    assert "plain loop" not in shown.out


def test_the_equations_of_its_neurons_have_their_settings(workplace: Path, snnlab: Snnlab):
    shown = snnlab("show", "--equations", "neuron.v_leak=0.25", "model.layers.lif2.reset=value", "model=conv_lif")
    assert shown.status == 0, shown.err
    blocks = dict(block.split(":\n", 1) for block in shown.out.strip().split("\n\n"))
    assert list(blocks) == ["lif1", "lif2", "readout"]
    lif1, lif2 = (re.sub(" +", " ", blocks[name]).splitlines() for name in ("lif1", "lif2"))
    assert lif1[:3] == [
        " u[t] = a * v[t-1] + x[t] + (1 - a) * v_leak",
        " s[t] = H(u[t] - v_threshold)",
        " v[t] = u[t] - v_threshold * s[t]",
    ]
    assert lif2[2] == " v[t] = (1 - s[t]) * u[t]"
    assert_text_has(blocks["lif1"], "exp(-dt / tau_mem) = 0.6065", "v_leak = 0.25", "dt = 10 ms", "tau_mem = 20 ms")
    latex = snnlab("show", "--equations=latex", "model=mlp_lif", "neuron=psn")
    assert latex.status == 0, latex.err
    assert r"v_{t} &= a\, v_{t-1} + g\, x_{t}" in latex.out
    assert "weight[t, t'] * x[t']" in latex.out  # what its class states


def test_a_neuron_that_a_named_backend_cannot_run_is_refused_before_data_are_read(workplace: Path, snnlab: Snnlab):
    (workplace / "sine_lif.py").write_text(SINE_LIF, encoding="utf-8")
    done = snnlab("train", "plugins=[sine_lif]", "neuron.type=sine_lif", "backend=numba")
    assert done.status == 2
    assert_error_has(done.error, "model.layers.lif1.backend", "numba", "SineLIF")
    assert {path.name for path in workplace.iterdir()} <= {"sine_lif.py", "__pycache__"}


def test_it_leaves_nothing_behind_and_needs_no_data(workplace: Path, snnlab: Snnlab):
    assert snnlab("show", "data=nmnist", "data.root=nowhere", "data.download=false").status == 0
    assert not list(workplace.iterdir())


def test_overrides_models_and_plugins_are_those_of_train(workplace: Path, snnlab: Snnlab):
    (workplace / "my_shown_layers.py").write_text(
        "import torch\nfrom torch import nn\nfrom snnlab.nn import LAYERS\n"
        "@LAYERS.register('shown')\nclass Shown(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.a = nn.Parameter(torch.ones(3))\n"
        "    def forward(self, x):\n        return x * self.a.sum()\n"
    )
    (workplace / "mine" / "model").mkdir(parents=True)
    (workplace / "mine" / "model" / "net.yaml").write_text(
        "layers:\n  flatten: {type: flatten}\n  own: {type: shown}\n  out: {type: linear, out_features: 10}\n"
    )
    done = snnlab("show", "--config-dir", "mine", "model=net", "plugins=[my_shown_layers]")
    assert done.status == 0, done.err
    assert cells(done.out, "own") == ["own", "shown", "2312", "3", "?"]
    assert cells(done.out, "total") == ["total", "23,133", "23,120+ ?"]
    assert "neuron" not in done.out


@pytest.mark.parametrize("name", ["net.png", "net.svg", "net.pdf"])
def test_it_draws_a_figure(workplace: Path, snnlab: Snnlab, name: str):
    done = snnlab("show", "--figure", name, "model=mlp_lif")
    assert done.status == 0, done.err
    assert done.out == f"{name}\n"
    starts = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
    assert (workplace / name).read_bytes().startswith(starts[Path(name).suffix])


def test_help_and_files_need_no_heavy_import():
    commands = (["show", "--help"], ["list", "--help"], ["list", "models"])
    assert not heavy(*commands, modules=("torch", "hydra", "omegaconf", "rich", "matplotlib"))


@pytest.mark.long
def test_neither_imports_packages_of_training_alone():
    commands = (["show"], ["list"], ["list", "losses", "cross_entropy"])
    assert not heavy(*commands, modules=("lightning", "tonic", "torchmetrics", "tensorboard", "matplotlib"))


def heavy(*commands: list[str], modules: tuple[str, ...]) -> list[str]:
    """Return those of the modules that a process has imported after these commands."""
    code = "import sys; from snnlab.cli.main import main\n"
    code += f"for words in {commands!r}: sys.argv = ['snnlab', *words]; assert main() == 0\n"
    code += f"print('imported', *[name for name in {modules!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()[1:]
