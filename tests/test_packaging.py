"""The files of the installed package, and the imports that it causes."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from snnlab.zoo import zoo_names

pytestmark = pytest.mark.long  # builds both archives

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"snnlab", "configs", "docs", "scripts", "tests"}
FILES = {
    "pyproject.toml",
    "mkdocs.yml",
    "Makefile",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
}
NETWORK_FILES = {"card.yaml", "config.yaml", "result.json", "trained_on.npy", "weights.safetensors"}
ADDED_BY_HATCHLING = {"PKG-INFO", ".gitignore"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    """Build an sdist, and a wheel from that sdist; return the names of the files in each."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    (sdist,), (wheel,) = out.glob("snnlab_train-*.tar.gz"), out.glob("snnlab_train-*.whl")
    with tarfile.open(sdist) as archive:
        in_sdist = {name.split("/", 1)[1] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    return in_sdist, in_wheel


def test_every_config_is_in_sdist_and_wheel(built: tuple[set[str], set[str]]) -> None:
    in_sdist, in_wheel = built
    configs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    assert "configs/train.yaml" in configs
    assert configs <= in_sdist
    assert {f"snnlab/{name}" for name in configs} <= in_wheel


def test_every_module_is_in_the_wheel(built: tuple[set[str], set[str]]) -> None:
    _, in_wheel = built
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "snnlab").rglob("*.py")}
    assert modules | {"snnlab/py.typed"} <= in_wheel


def test_no_data_and_no_outputs_are_packaged(built: tuple[set[str], set[str]]) -> None:
    in_sdist, in_wheel = built
    assert {name.split("/")[0] for name in in_sdist} <= FOLDERS | FILES | ADDED_BY_HATCHLING
    installed = [PurePosixPath(name) for name in in_wheel if ".dist-info/" not in name]
    assert {path.parts[0] for path in installed} == {"snnlab"}
    folders = {PurePosixPath(f"snnlab/{name}/templates") for name in ("runs", "experiments", "streaming")}
    templates = {path for path in installed if path.parent in folders}
    assert {path.suffix for path in templates} == {".html", ".css", ".js", ".md", ".tex"}
    pages = {path for path in installed if path.is_relative_to("snnlab/docs")}
    assert {path.suffix for path in pages} == {".md"}
    networks = {path for path in installed if path.is_relative_to("snnlab/pretrained")}
    assert {path.name for path in networks} == NETWORK_FILES
    exported = {path for path in installed if path.parent == PurePosixPath("snnlab/interop/c99/templates")}
    assert {path.name for path in exported} == {"Makefile", "main.c", "network.py.txt"}
    digits = {PurePosixPath("snnlab/data/sources/digits.csv.gz")}
    assert digits <= {*installed}
    others = {*installed} - templates - pages - networks - exported - digits
    assert {path.suffix for path in others} <= {".py", ".yaml", ".typed"}


def test_every_trained_network_is_in_sdist_and_wheel(built: tuple[set[str], set[str]]) -> None:
    in_sdist, in_wheel = built
    assert zoo_names()
    files = {f"snnlab/pretrained/{name}/{file}" for name in zoo_names() for file in NETWORK_FILES}
    assert files <= in_sdist
    assert files <= in_wheel
