"""The imports between folders are those of the table in CONTRIBUTING.md, without cycles."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

from snnlab.features import provides

pytestmark = pytest.mark.long  # rules for those who change snnlab

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "snnlab"
# Imports within functions: command line -> command, composing -> torch, torch -> Lightning, plugins, optional packages.
MOST_LATE_IMPORTS = 48


def table() -> dict[str, set[str]]:
    """Return the packages of CONTRIBUTING's table in its order, and the packages that each may import."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)/` \|[^|]*\|([^|]*)\|$", text, re.M)
    return {name: set(re.findall(r"`([\w.]+)`", allowed)) for name, allowed in rows}


ALLOWED = table()
FEATURES = {path.parent.name for path in PACKAGE.glob("*/feature.py")}


@lru_cache
def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def folder_of(module: str) -> str:
    """Return the package of a module in the table; empty for the shared files."""
    below = module.removeprefix("snnlab").lstrip(".")
    return next((name for name in sorted(ALLOWED, reverse=True) if f"{below}.".startswith(f"{name}.")), "")


@lru_cache
def imports(module: str) -> frozenset[str]:
    """Return the modules of ours and the packages of others that a file imports anywhere, also by a string."""
    found = set()
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules() else node.module for name in whole}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            found |= {name.value for name in node.args if isinstance(name, ast.Constant) and name.value in modules()}
    return frozenset(found)


def test_every_folder_stands_in_the_table():
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE}
    assert folders == {name.partition(".")[0] for name in ALLOWED}


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_folder_imports_what_the_table_allows_and_no_other(folder: str):
    wrong = {
        f"{module} imports {name}"
        for module in modules()
        if folder_of(module) == folder
        for name in imports(module)
        if name in modules() and folder_of(name) not in {folder, "", "spec", *ALLOWED[folder]}
    }
    assert not wrong


def feature_of(module: str) -> str:
    """Return the feature that a module belongs to; empty for the core."""
    name = module.split(".")[1] if "." in module else ""
    return name if name in FEATURES else ""


def test_the_table_names_the_features():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)/` \| feature:", text, re.M)) == FEATURES


def test_no_file_names_a_feature_but_its_own():
    """Neither by import nor in a text: a feature can be taken out."""
    name = re.compile(rf"\bsnnlab[./]({'|'.join(sorted(FEATURES))})\b")
    assert not {
        f"{module} names {feature}"
        for module, path in modules().items()
        for feature in name.findall(path.read_text(encoding="utf-8"))
        if feature != feature_of(module)
    }


def test_what_features_provide_is_there_and_asked_for():
    asked = "\n".join(path.read_text(encoding="utf-8") for module, path in modules().items() if not feature_of(module))
    for what, place in provides().items():
        module, _, name = place.partition(":")
        assert feature_of(module)
        bound = {getattr(node, "name", "") for node in ast.parse(modules()[module].read_text(encoding="utf-8")).body}
        assert name in bound, what
        start = re.match(r"snnlab\.|(report of|validate|callback) |", what)
        assert start
        assert f'"{start[0]}' in asked if start[0] else f'"{what}"' in asked, what


def test_the_shared_files_import_no_folder_but_spec():
    assert not {
        f"{module} imports {name}"
        for module, path in modules().items()
        if not folder_of(module) and path.stem not in ("__init__", "__main__")
        for name in imports(module)
        if name in modules() and folder_of(name) not in ("", "spec")
    }


def test_a_field_is_described_by_files_that_import_errors_only():
    imported = {name for module in modules() if folder_of(module) == "spec" for name in imports(module)}
    assert {name for name in imported & modules().keys() if folder_of(name) != "spec"} == {"snnlab.errors"}


def test_no_files_import_one_another_in_a_circle():
    graph = {
        module: {name for name in imports(module) if name in modules() and modules()[name].stem != "__init__"}
        for module, path in modules().items()
        if path.stem != "__init__"
    }
    while bare := {module for module, names in graph.items() if not names & graph.keys()}:
        graph = {module: names for module, names in graph.items() if module not in bare}
    assert not graph


def test_imports_stand_at_the_top():
    found_late = set()
    for path in modules().values():
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                found = [node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)]
                found_late |= {f"{path.relative_to(ROOT)}:{node.lineno}" for node in found}
    assert len(found_late) <= MOST_LATE_IMPORTS


@pytest.mark.parametrize("folder", ["streaming", "interop"])
def test_stream_and_interop_know_no_neuron_by_its_class(folder: str):
    """They read a neuron's form, and what it says of itself."""
    bases = {
        node.name: {one.id for one in node.bases if isinstance(one, ast.Name)}
        for module, path in modules().items()
        if module.startswith("snnlab.nn.neurons.")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    }
    classes: set[str] = set()
    while more := {name for name, of in bases.items() if of & {"Neuron", *classes}} - classes:
        classes |= more
    assert {"LIF", "Recurrent"} <= classes
    assert not {
        f"{module}:{node.lineno}"
        for module, path in modules().items()
        if folder_of(module) == folder
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.alias) and node.name in classes) or (isinstance(node, ast.Name) and node.id in classes)
    }


def test_tonic_is_imported_in_one_file():
    files = [module for module in modules() if any(name.partition(".")[0] == "tonic" for name in imports(module))]
    assert files == ["snnlab.data.tonic_adapter"]
