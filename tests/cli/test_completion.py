from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from snnlab.cli import completion
from snnlab.cli.main import COMMANDS
from snnlab.config.folders import config_folder
from snnlab.nn import LAYERS

from ..refusals import assert_text_has

MODELS = sorted(path.stem for path in (config_folder() / "model").glob("*.yaml"))
Offered = Callable[[str], list[str]]


@pytest.fixture
def completed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Offered:
    """Return a function that returns the completions of a line."""

    def call(line: str) -> list[str]:
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        monkeypatch.setattr(sys, "argv", ["snnlab", "-sc", "query=bash"])
        assert completion.main(["query=bash"], 0.0) == 0
        captured = capsys.readouterr()
        assert not captured.err
        return captured.out.split()

    return call


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("snnlab tr", ["train"]),
        ("snnlab train --con", ["--config-dir"]),
        ("snnlab show --fi", ["--figure"]),
        ("snnlab predict --f", ["--format"]),
        ("snnlab cp model/", [f"model/{name}" for name in MODELS]),
        ("snnlab find ", ["lr"]),
        ("snnlab data in", ["inspect"]),
        ("snnlab runs ", ["list", "compare", "delete"]),
        ("snnlab runs delete ", []),
        ("snnlab new ex", ["experiment"]),
        ("snnlab list sur", ["surrogates"]),
        ("snnlab list layers conv", [name for name in LAYERS if name.startswith("conv")]),
        ("snnlab list models c", [name for name in MODELS if name.startswith("c")]),
        ("snnlab train model=", [f"model={name}" for name in MODELS]),
        ("snnlab data inspect data=nm", ["data=nmnist"]),
        ("snnlab show --figure a.png model=g", ["model=gru"]),
        ("snnlab show --figure ", []),
        ("snnlab evaluate ", []),
        ("snnlab train model.layers.lif1.type=cub", [f"model.layers.lif1.type=cuba_{kind}" for kind in ("li", "lif")]),
        ("snnlab train neuron.surrogate.type=at", ["neuron.surrogate.type=atan"]),
        ("snnlab train neu", ["neuron.", "neuron="]),
        ("snnlab find lr data.num_b", ["data.num_bins="]),
        ("snnlab new experiment mine data.num_b", ["data.num_bins="]),
    ],
)
def test_words_files_types_and_keys_are_completed(completed: Offered, line: str, words: list[str]):
    assert completed(line) == words


def test_every_command_is_completed_first(completed: Offered):
    assert completed("snnlab ") == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_options_completed(completed: Offered, command: str):
    assert "--help" in completed(f"snnlab {command} --")


@pytest.mark.parametrize("named", ["--config-dir mine", "--config-dir=mine", ""])
def test_the_users_files_and_their_keys_are_completed(
    completed: Offered, workplace: Path, monkeypatch: pytest.MonkeyPatch, named: str
):
    for name, text in (
        ("experiment/hands", "# @package _global_\n"),
        ("model/net", "layers: {mine: {type: flatten}}\n"),
    ):
        path = workplace / "mine" / f"{name}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    if not named:
        monkeypatch.setenv("SNNLAB_CONFIG_DIR", "mine")
    assert completed(f"snnlab train {named} experiment=h") == ["experiment=hands"]
    assert completed(f"snnlab train {named} model=net model.layers.m") == ["model.layers.mine."]


def test_a_mistake_in_a_file_prints_nothing(completed: Offered, workplace: Path):
    (workplace / "mine" / "experiment").mkdir(parents=True)
    (workplace / "mine" / "experiment" / "bad.yaml").write_text("# @package _global_\nseed: [\n")
    assert completed("snnlab train --config-dir mine experiment=bad seed") == []


def test_a_key_that_a_shell_would_run_is_not_proposed(completed: Offered, workplace: Path):
    (workplace / "mine" / "model").mkdir(parents=True)
    (workplace / "mine" / "model" / "net.yaml").write_text("layers: {'lif$(touch ran)': {type: lif}, lif1: {}}\n")
    assert completed("snnlab train --config-dir mine model=net model.layers.l") == ["model.layers.lif1."]


def test_an_installed_script_calls_the_program():
    environment = {**os.environ, "COMP_LINE": "snnlab train data.num_b"}
    command = [sys.executable, "-m", "snnlab", "-sc", "query=bash"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("data.num_bins=\n", "")


def test_names_of_files_do_not_wait_for_hydra():
    code = "import sys; sys.argv = ['snnlab', '-sc', 'query=bash']; from snnlab.cli.main import main; main()"
    ask = [sys.executable, "-c", f"{code}; print('hydra' in sys.modules, file=sys.stderr)"]
    line = {**os.environ, "COMP_LINE": "snnlab train model=conv_li"}
    done = subprocess.run(ask, capture_output=True, text=True, env=line, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["model=conv_lif"], "False\n")


def test_the_script_for_bash_completes_snnlab():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv = ['snnlab', '-sc', 'install=bash']; from snnlab.cli.main import main; main()",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.rstrip().endswith("_snnlab_completion snnlab")


def test_zsh_runs_the_script_of_bash():
    done = subprocess.run(
        [sys.executable, "-m", "snnlab", "-sc", "install=zsh"], capture_output=True, text=True, check=True
    )
    assert_text_has(done.stdout.splitlines()[0], "compinit", "bashcompinit")
    assert "_snnlab_completion" in done.stdout


def test_a_wrong_request_names_the_install_commands():
    done = subprocess.run([sys.executable, "-m", "snnlab", "-sc", "bash"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "install=bash" in done.stderr
