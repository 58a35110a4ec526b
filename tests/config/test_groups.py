from __future__ import annotations

from pathlib import Path

import pytest

from snnlab.config.folders import config_folder, description, file_kinds, group_files

FILES = sorted(config_folder().glob("*/*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_packaged_file_has_its_command_and_a_description(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    assert lines[0].startswith("# snnlab ")
    assert lines[1].startswith("# ")
    text, second = description(path), lines[1].removeprefix("# ")
    assert text.startswith(second) or second.startswith(text)
    assert text.endswith((".", ":", "!")) or not lines[2].startswith("#")  # a whole sentence


def test_groups_have_the_names_that_users_type() -> None:
    kinds = file_kinds(None)
    assert kinds["models"] == "model"
    assert kinds["presets"] == "neuron"
    assert kinds["data"] == "data"


def test_the_users_files_and_groups_are_included(tmp_path: Path) -> None:
    for group in ("model", "mine"):
        (tmp_path / group).mkdir()
    (tmp_path / "model" / "a_net.yaml").write_text("layers: {}\n")
    assert next(iter(group_files("model", tmp_path))) == "a_net"
    assert {"conv_lif", "mlp_lif"} <= group_files("model", tmp_path).keys()
    assert file_kinds(tmp_path)["mine"] == "mine"
    assert group_files("mine", tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# @package _global_\n# snnlab train a=b\n# Something.\nlr: 1\n", "Something."),
        ("# snnlab train a=b\n_target_: torch.optim.SGD\n", "torch.optim.SGD"),
        ("lr: 1\n", ""),
        ("", ""),
    ],
)
def test_a_file_is_described_by_its_second_comment_line_or_its_class(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    assert description(path) == expected
