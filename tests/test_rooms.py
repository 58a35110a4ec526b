"""A room never imports one above it, and the plain ones stay free of frameworks."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "snnlab"
# From the ground up; what is not named here is a single file that all rooms share.
ROOMS = [
    "kernels",
    "nn",
    "events",
    "data",
    "training",
    "diagnosis",
    "record",
    "search",
    "suite",
    "config",
    "session",
    "commands",
]
MAY_NOT = {
    "kernels": {"hydra", "omegaconf", "lightning", "tonic", "torchmetrics", "matplotlib"},
    "nn": {"hydra", "omegaconf", "lightning", "tonic", "torchmetrics", "matplotlib"},
    "events": {"hydra", "omegaconf", "lightning", "tonic", "torchmetrics", "matplotlib"},
    "training": {"hydra", "omegaconf", "tonic"},
    "data": {"hydra", "omegaconf", "torchmetrics"},
    "diagnosis": {"hydra", "omegaconf", "lightning", "tonic", "torchmetrics", "matplotlib"},
    "search": {"hydra", "torch", "tonic", "torchmetrics"},
    "suite": {"hydra", "torch", "tonic", "torchmetrics"},
}


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports, wherever in the file; not those for type checking only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return found | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


def files(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


def test_every_folder_of_the_package_is_a_room():
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE}
    assert folders == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_none_above_it(room: str):
    above = ROOMS[ROOMS.index(room) + 1 :]
    wrong = {
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in files(room)
        for name in imports(path)
        if any(name == f"snnlab.{other}" or name.startswith(f"snnlab.{other}.") for other in above)
    }
    assert not wrong


@pytest.mark.parametrize("room", ["nn", "events"])
def test_the_ground_floor_rooms_do_not_know_each_other(room: str):
    other = "events" if room == "nn" else "nn"
    assert not [path for path in files(room) if any(name.startswith(f"snnlab.{other}") for name in imports(path))]


@pytest.mark.parametrize("room", MAY_NOT)
def test_a_room_stays_free_of_what_is_not_its_business(room: str):
    for path in files(room):
        assert not {name.partition(".")[0] for name in imports(path)} & MAY_NOT[room], path


def test_tonic_is_imported_in_one_file():
    files_ = [
        path for path in PACKAGE.rglob("*.py") if any(name.partition(".")[0] == "tonic" for name in imports(path))
    ]
    assert [path.relative_to(PACKAGE).as_posix() for path in files_] == ["data/tonic_adapter.py"]
