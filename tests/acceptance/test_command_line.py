"""What `snnlab --help` promises: every command, the version, a proposal for a misspelt one."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import snnlab
from snnlab.cli import main
from snnlab.cli.command_files import commands
from snnlab.errors import ConfigError

from ..refusals import assert_lines_have, assert_raises


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "snnlab", *arguments], capture_output=True, text=True, timeout=100)


def test_help_names_every_command_and_imports_nothing_heavy():
    code = "import sys; sys.argv = ['snnlab', '--help']; from snnlab.cli.main import main; main(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"  {command} " in done.stdout for command in commands())
    modules = done.stdout.splitlines()[-1].split()
    assert not {"torch", "hydra", "numpy", "omegaconf", "argparse", "yaml"} & {*modules}


def test_without_arguments_it_shows_the_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["snnlab"])
    assert main.main() == 0
    assert "snnlab COMMAND --help" in capsys.readouterr().out


def test_a_misspelt_command_exits_with_2_and_proposes_the_right_one():
    done = run("trian")
    assert done.returncode == 2
    assert "'train'" in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(("typed", "meant"), [("test", "evaluate"), ("eval", "evaluate"), ("fit", "train")])
def test_a_command_of_another_framework_gets_a_proposal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, typed: str, meant: str
):
    monkeypatch.setattr(sys, "argv", ["snnlab", typed, "outputs/NAME/TIME_SEED"])
    assert main.main() == 2
    assert re.search(rf"'{typed}'.* '{meant}'", capsys.readouterr().err)


def test_windows_is_refused_in_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    train = snnlab.train  # other packages look for Windows' own modules as they are imported
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("sys.argv", ["snnlab", "train"])
    assert main.main() == 2
    out, err = capsys.readouterr()
    assert not out
    assert_lines_have(err.splitlines(), ("Linux", "macOS", "Windows", "WSL"))
    with assert_raises(ConfigError, "", "works"):
        train()


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):

    monkeypatch.setattr(sys, "argv", ["snnlab", "--version"])
    assert main.main() == 0
    assert capsys.readouterr().out.strip() == snnlab.__version__


def test_train_help_shows_groups_and_examples():
    done = run("train", "--help")
    assert done.returncode == 0
    for words in (
        "snnlab train model=conv_lif data=nmnist",
        "neuron: adex, adlif, ",
        "selection: lowest_val_loss",
    ):
        assert words in done.stdout


def test_cfg_job_prints_the_configuration_and_trains_nothing(tmp_path):
    done = run("train", "--cfg", "job", f"output_dir={tmp_path / 'out'}", "neuron.tau_mem=7")
    assert done.returncode == 0
    assert "tau_mem: 7" in done.stdout
    assert not (tmp_path / "out").exists()
