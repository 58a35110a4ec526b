"""What a user ships, a folder of C, the files of a Pi or an ONNX model, may be shipped by anyone."""

from __future__ import annotations

import ast
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from snnlab.interop.c99.c_folder import files_of
from snnlab.interop.c99.c_network import c_network
from snnlab.interop.c99.page import page
from snnlab.interop.onnx_network import HAS_ONNX, onnx_network

from .forms import NETWORKS, form_of, recorded, sensor

# GPL-3 and LGPL-3.
FOREIGN = ("tonic", "norse")


@lru_cache
def shipped() -> dict[str, str]:
    """Return the texts of an export."""
    layers, in_shape = NETWORKS["sums, groups, dilation, feedback"]
    form = form_of(layers, in_shape, 3.0)
    network = c_network(form, "net", sensor(form), "small")
    files = files_of(network, form, recorded(form, 0.1, 2)) | {"README.md": page(network, "small", []).encode()}
    texts = {name: content.decode() for name, content in files.items() if name != "recording.bin"}
    return texts | ({"network.onnx": str(onnx_network(form, step_ms=1.0).model)} if HAS_ONNX else {})


def lines_of(text: str) -> set[tuple[str, ...]]:
    """Return each three lines of a text that follow one another and say something."""
    lines = [line.strip() for line in text.splitlines() if len(line.strip()) > 8]
    return set(zip(lines, lines[1:], lines[2:], strict=False))


@pytest.mark.parametrize("package", FOREIGN)
def test_no_three_lines_are_those_of_a_library_with_a_stricter_licence(package: str) -> None:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    sources = [path for folder in spec.submodule_search_locations for path in Path(folder).rglob("*.py")]
    theirs = set[tuple[str, ...]]().union(*(lines_of(path.read_text(encoding="utf-8")) for path in sources))
    assert len(theirs) > 1000
    assert not {name for name, text in shipped().items() if lines_of(text) & theirs}


def test_nothing_names_or_imports_them_and_each_text_says_its_licence() -> None:
    for name, text in shipped().items():
        assert not [one for one in FOREIGN if one in text.lower()], name
        if name != "network.onnx":
            assert "SPDX-License-Identifier: 0BSD" in text, name
    nodes = list(ast.walk(ast.parse(shipped()["network.py"])))
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert found == {"ctypes", "json", "sys", "pathlib", "numpy"}
