"""Each feature is taken out of a copy of this checkout, with its tests and files, and the rest works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from snnlab.features import features

ROOT = Path(__file__).parents[1]
PARTS = ("snnlab", "configs", "docs", "scripts", "tests")
# Quick tests of what the core asks features for, and of what it finds by looking: commands, settings, words, pages.
KEPT = """
tests/test_layout.py tests/spec tests/cli/test_new_command.py tests/config/test_catalogue.py
tests/config/test_composing.py tests/config/test_groups.py tests/nn/test_network.py tests/nn/test_network_form.py
tests/nn/test_public.py tests/session/test_session.py tests/session/test_weights.py tests/runs/test_run_folder.py
tests/runs/test_run_reading.py tests/runs/test_grid.py tests/acceptance/test_command_line.py
tests/acceptance/test_python.py
"""
TRAIN = (
    *("train", "model=mlp_lif", "data.num_bins=4", "trainer.max_epochs=1", "+trainer.limit_train_batches=1"),
    *("+trainer.limit_val_batches=1", "test=false", "backend=reference", "sparse_input=false"),
)
SCRIPT = """
import pkgutil, sys, snnlab
from snnlab.cli.main import main
for module in pkgutil.walk_packages(snnlab.__path__, "snnlab."):
    if module.name != "snnlab.__main__":  # it runs when imported
        __import__(module.name)
for command in sys.argv[1:]:
    sys.argv = ["snnlab", *command.split()]
    assert main() == 0
"""


def test_what_belongs_to_a_feature_is_there() -> None:
    for feature in features():
        assert (ROOT / "tests" / feature).is_dir()
        assert all((ROOT / name).exists() for name in import_module(f"snnlab.{feature}.feature").FILES)


@pytest.mark.slow
@pytest.mark.parametrize("feature", features())
def test_the_rest_works_without_a_feature(feature: str, tmp_path: Path) -> None:
    for part in PARTS:
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    files = import_module(f"snnlab.{feature}.feature").FILES
    for name in (f"snnlab/{feature}", f"tests/{feature}", *files):
        path = tmp_path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = tmp_path / "CONTRIBUTING.md"
    lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
    page.write_text("".join(line for line in lines if not line.startswith((f"| `{feature}/", f"| `{feature}."))))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for command in (
        ["-c", SCRIPT, "--help", " ".join(TRAIN)],
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", *KEPT.split()],
    ):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
