from __future__ import annotations

from pathlib import Path

import pytest

from ..cli.conftest import digits_store, snnlab, workplace

__all__ = ["digits_store", "snnlab", "workplace"]  # the fixtures


@pytest.fixture
def surroundings(workplace: Path) -> Path:
    """Return the working folder of the transcripts: a file, two plugins that fail, a run, a broken YAML."""
    (workplace / "file").write_text("")
    (workplace / "raises.py").write_text("raise RuntimeError('no')")
    (workplace / "leaves.py").write_text("import sys\nsys.exit(3)")
    (workplace / "run").mkdir()
    (workplace / "run" / "config.yaml").write_text("seed: 0\n")
    broken = workplace / "mine" / "model" / "broken.yaml"
    broken.parent.mkdir(parents=True)
    broken.write_text("layers:\n  a: {type: relu\n  b: 3\n")
    return workplace
