"""The neuron that CONTRIBUTING.md adds is added to a copy of this checkout, and run there."""

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
# The plain loop, because the rendered loops of the copy would be compiled again.
TRAIN = [
    *("trainer.max_epochs=1", "+trainer.limit_train_batches=1", "+trainer.limit_val_batches=1", "test=false"),
    *("backend=reference", "sparse_input=false"),
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of package, configurations and contract tests, with the example's three files."""
    folder = tmp_path_factory.mktemp("contributing")
    for part in ("snnlab", "configs", "tests/nn"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "peers"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in ("refusals.py", "marks.py"):
        shutil.copy(ROOT / "tests" / name, folder / "tests")
    for text, path in BLOCKS:
        assert not (folder / path).exists()
        (folder / path).write_text(text.partition("\n")[2])  # its first line is its path
    return folder


# One process for all: to import torch and Lightning takes longer than the rest.
SCRIPT = """
import sys, pytest
from snnlab.cli.main import main
assert pytest.main(["-q", "-k", "refractory_lif", *sys.argv[1].split()]) == 0
for command in sys.argv[2:]:
    sys.argv = ["snnlab", *command.split()]
    assert main() == 0
"""
SHOW = "show --equations model=mlp_lif neuron=refractory_lif"
TESTS = "tests/nn/neurons/test_refractory_lif.py tests/nn/neurons/test_contract.py"
COMMANDS = (
    *("list neurons", "list neurons refractory_lif", SHOW),
    f"train model=mlp_lif neuron=refractory_lif {' '.join(TRAIN)}",
)


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


@pytest.mark.long
def test_its_test_passes_and_so_do_those_for_all_neurons(said: str):
    assert re.search(r"\d\d passed", said)


@pytest.mark.long
def test_its_equations_are_listed_and_shown_with_its_settings(said: str):
    assert said.count("    u[t] = 0 if rest[t-1] > 0 else a * v[t-1] + x[t]\n") == 2
    assert "    a = exp(-dt / tau_mem)\n" in said
    assert "    steps = t_refractory / dt = " not in said
    assert "t_refractory = 10 ms" in said


@pytest.mark.long
def test_it_is_listed_and_trains(said: str):
    assert re.search(r"^refractory_lif +refractory_lif +Leaky", said, re.M)
    assert "outputs/mlp_lif" in said
