from __future__ import annotations

import os
import subprocess
import sys

import pytest

from snnlab.commands.completion import own_words, without_command


def query(line: str) -> list[str]:
    environment = {**os.environ, "COMP_LINE": line}
    command = [sys.executable, "-m", "snnlab", "-sc", "query=bash"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("snnlab tr", ["train"]),
        ("snnlab train --con", ["--config-dir"]),
        ("snnlab cp mod", []),
        ("snnlab train mod", None),
        ("snnlab find ", ["lr", "batch_size"]),
        ("snnlab find b", ["batch_size"]),
        ("snnlab find lr mod", None),
        ("snnlab train ", None),
    ],
)
def test_commands_and_flags_are_ours_and_the_rest_is_hydras(line: str, words: list[str] | None):
    assert own_words(line) == words


def test_every_command_is_offered_first():
    from snnlab.cli import COMMANDS

    assert own_words("snnlab ") == list(COMMANDS)


def test_hydra_sees_a_line_without_the_command():
    assert without_command("snnlab train model=c") == "snnlab model=c"
    assert without_command("snnlab train ") == "snnlab "
    assert without_command("snnlab find lr model=c") == "snnlab model=c"


def test_groups_files_and_keys_are_completed():
    assert "neuron=" in query("snnlab train neu")
    assert {"model=conv_lif", "model=conv_cuba_lif"} <= set(query("snnlab train model=c"))
    assert "data.num_bins=" in query("snnlab train data.num_b")


def test_the_script_for_bash_completes_snnlab():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv = ['snnlab', '-sc', 'install=bash']; from snnlab.cli import main; main()",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.rstrip().endswith("hydra_bash_completion snnlab")


def test_zsh_is_told_to_take_the_script_of_bash():
    done = subprocess.run(
        [sys.executable, "-m", "snnlab", "-sc", "install=zsh"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("autoload -Uz compinit bashcompinit && compinit && bashcompinit\n")
    assert "hydra_bash_completion" in done.stdout


def test_a_wrong_request_says_how_it_is_installed():
    done = subprocess.run([sys.executable, "-m", "snnlab", "-sc", "bash"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "install=bash" in done.stderr
