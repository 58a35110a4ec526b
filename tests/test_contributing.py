"""The neuron that CONTRIBUTING.md adds is added to a copy of this checkout, and run there, as is a second one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```\w+\n(# ([\w/]+\.(?:py|yaml))\n.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
# A second neuron, of one file and one YAML: its step has an exponential function and a division.
SOFT = {
    "snnlab/nn/neurons/soft_lif.py": '''
"""A leaky integrate-and-fire neuron whose input saturates."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.base import SurrogateNeuron
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.surrogate import spike
from snnlab.spec.declared import setting


class SoftLIFState(NamedTuple):
    """Membrane potential v, `[B, ...]`."""

    v: Tensor


@NEURONS.register("soft_lif")
class SoftLIF(SurrogateNeuron):
    """Leaky integrate-and-fire neuron whose input saturates.

    Args:
        dt: Length of a step, ms.
        scale: Largest input.

    Shape:
        x: `[T, B, ...]`; state: `SoftLIFState(v)`; returns spikes in {0, 1}, `[T, B, ...]`, and the state.
    """

    approximate: ClassVar[bool] = True
    dt: float = setting(kw_only=False)
    scale: float = 3.0

    def coefficients(self) -> tuple[float, float]:
        """Return the leak and the largest input."""
        return 0.9, self.scale

    def initial_state(self, x: Tensor) -> SoftLIFState:
        """Return v = 0."""
        return SoftLIFState(torch.zeros_like(x))

    def step(self, x: Tensor, state: SoftLIFState, k: tuple[float, float]) -> tuple[Tensor, SoftLIFState]:
        """Return the spikes of one step and the state after it."""
        a, scale = k
        u = a * state.v + scale / (1.0 + torch.exp(-x)) - 0.5 * scale
        s = spike(u - 1.0, self.surrogate, 1.0)
        return s, SoftLIFState(u - s.detach())
''',
    "configs/neuron/soft_lif.yaml": """# snnlab train neuron=soft_lif
# Leaky integrate-and-fire whose input saturates.
type: soft_lif
scale: 3.0
""",
}
# The plain loop, because the rendered loops of the copy would be compiled again.
TRAIN = [
    *("trainer.max_epochs=1", "+trainer.limit_train_batches=1", "+trainer.limit_val_batches=1", "test=false"),
    *("backend=reference", "sparse_input=false"),
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of package, configurations and contract tests, with the example's three files and the second's."""
    folder = tmp_path_factory.mktemp("contributing")
    for part in ("snnlab", "configs", "scripts", "tests/nn"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "peers"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in ("refusals.py", "marks.py"):
        shutil.copy(ROOT / "tests" / name, folder / "tests")
    for text, path in BLOCKS:
        assert not (folder / path).exists()
        (folder / path).write_text(text.partition("\n")[2])  # its first line is its path
    for path, text in SOFT.items():
        (folder / path).write_text(text.lstrip())
    return folder


# One process for all: to import torch and Lightning takes longer than the rest.
SCRIPT = """
import sys, pytest
from pathlib import Path
from snnlab.cli.main import main
assert pytest.main(["-q", "-k", "refractory_lif", *sys.argv[1].split()]) == 0
for command in sys.argv[2:]:
    runs = sorted(Path("outputs").glob("*/*"), key=lambda run: run.stat().st_mtime)
    sys.argv = ["snnlab", *(str(runs[-1]) if word == "RUN" else word for word in command.split())]
    print("$", command)
    assert main() == 0
sys.path.insert(0, "scripts")
import build_docs
print("$ reference", build_docs.neurons_page(), sep="\\n")
"""
TESTS = "tests/nn/neurons/test_refractory_lif.py tests/nn/neurons/test_contract.py"
CERTIFY, EXPORT = "doctor --stream RUN --dt 1", "export RUN --nir refractory_lif.nir --lossy"


def show(neuron: str) -> str:
    return f"show --equations model=mlp_lif neuron={neuron}"


def train(neuron: str) -> str:
    return f"train model=mlp_lif neuron={neuron} {' '.join(TRAIN)}"


COMMANDS = (
    *("list neurons", "list neurons refractory_lif", show("refractory_lif"), show("soft_lif")),
    *(train("refractory_lif"), CERTIFY, EXPORT, train("soft_lif"), CERTIFY),
)


def output_of(said: str, command: str) -> list[str]:
    """Return what each run of a command prints."""
    return [part.partition("\n")[2] for part in said.split("\n$ ") if part.partition("\n")[0] == command]


@pytest.fixture(scope="module")
def said(checkout: Path) -> str:
    """Run the tests and the commands in the copy, which shadows the installed package; return what they print."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", SCRIPT, TESTS, *COMMANDS]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_takes_one_file_one_yaml_and_one_test():
    assert [path for _, path in BLOCKS] == [
        "snnlab/nn/neurons/refractory_lif.py",
        "configs/neuron/refractory_lif.yaml",
        "tests/nn/neurons/test_refractory_lif.py",
    ]


@pytest.mark.slow
def test_its_test_passes_and_so_do_those_for_all_neurons(said: str):
    assert re.search(r"\d\d passed", said)


@pytest.mark.slow
def test_its_equations_are_listed_and_shown_with_its_settings(said: str):
    assert said.count("    u[t] = 0 if rest[t-1] > 0 else a * v[t-1] + x[t]\n") == 2
    assert "    a = exp(-dt / tau_mem)\n" in said
    assert "    steps = t_refractory / dt = " not in said
    assert "t_refractory = 10 ms" in said


@pytest.mark.slow
def test_both_stream_with_the_bits_of_dense_loops(said: str):
    found = output_of(said, CERTIFY)
    assert [re.search(r"equal to plain dense loops: (0) of [\d,]+ states", text) is not None for text in found] == [
        True
    ] * 2
    assert [re.search(r"^lif1 +256 +[1-9]", text, re.M) is not None for text in found] == [True] * 2


@pytest.mark.slow
def test_it_is_exported_to_nir_without_its_rest(said: str, checkout: Path):
    assert "refractory" in output_of(said, EXPORT)[0]
    assert (checkout / "refractory_lif.nir").stat().st_size > 0


@pytest.mark.slow
def test_the_second_ones_equations_have_its_exponential_and_division(said: str):
    assert "k0 * v[t-1] + k1 / (1 + exp(-x[t])) - 0.5 * k1" in output_of(said, show("soft_lif"))[0]


@pytest.mark.slow
def test_both_are_in_the_reference(said: str):
    (page,) = output_of(said, "reference")
    assert re.search(r"^#+ .*refractory_lif", page, re.M)
    assert re.search(r"^#+ .*soft_lif", page, re.M)


@pytest.mark.slow
def test_it_is_listed_and_trains(said: str):
    assert re.search(r"^refractory_lif +refractory_lif +Leaky", said, re.M)
    assert "outputs/mlp_lif" in said
