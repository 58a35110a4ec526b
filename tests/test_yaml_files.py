"""YAML is read as OmegaConf reads it, with the line of each key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from snnlab.config.folders import config_folder
from snnlab.yaml_files import ContentError, parse, read_yaml

from .marks import mostly_long

SCALARS = """a: [1e3, -1.5E+3, .5e+3, 1_000, 0x1f, 017, 0o7, 1:20, 1:20.5, .inf, -.INF, .nan]
b: [2020-01-01, 2020-01-01 10:00:00, yes, No, on, ~, null, '1', "1e3", !!str 3, ++1, 1e, e3]
c: &c {x: 1, y: [2]}
d: {<<: *c, y: 3}
1: one
"""


PATHS = [None, *sorted(config_folder().rglob("*.yaml"))]


@pytest.mark.parametrize("path", mostly_long(PATHS, 60), ids=lambda path: path and path.stem)
def test_values_are_those_of_omegaconf(path: Path | None, tmp_path: Path):
    if path is None:
        path = tmp_path / "scalars.yaml"
        path.write_text(SCALARS)
    expected: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    text = path.read_text(encoding="utf-8")
    assert repr(parse(text).content or {}) == repr(read_yaml(path) or {}) == repr(expected)


def test_each_key_has_its_line_also_in_lists_and_merged_mappings():
    text = "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc:\n  - 1\n  - {d: 2}\ne.f: 3\n"
    assert parse(text).lines == {
        **{"a": 1, "a.x": 1, "a.y": 1, "b": 2, "b.x": 1, "b.y": 4},
        **{"c": 5, "c.0": 6, "c.1": 7, "c.1.d": 7, "e.f": 8},
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: !!int abc", 2),
        ("a: !!bool x", 1),
        ("a:\n  - !!timestamp x", 2),
        ("b: &b [*b]", 1),
        ("a: " + "[" * 200, 1),
    ],
)
def test_a_value_that_cannot_be_has_its_line(text: str, line: int):
    with pytest.raises(ContentError) as caught:
        parse(text)
    assert caught.value.line == line


@pytest.mark.parametrize("read", ["parse", "read_yaml"])
def test_a_repeated_key_is_an_error(read: str, tmp_path: Path):
    (tmp_path / "a.yaml").write_text("a: 1\nb: {c: 1, c: 2}\n")
    with pytest.raises(yaml.YAMLError, match="duplicate key c"):
        parse((tmp_path / "a.yaml").read_text()) if read == "parse" else read_yaml(tmp_path / "a.yaml")
