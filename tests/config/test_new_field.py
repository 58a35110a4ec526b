"""A stranger adds a field: one line, and no other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..marks import mostly_long

ROOT = Path(__file__).parents[2]
# A file, the line that the new one follows, and the new one.
LINES = {
    "snnlab/nn/neurons/membrane.py": '    drift: Annotated[float, "mV", at_least(0), Help("Constant input.")] = 0.5',
    "snnlab/experiment_fields.py": '    sleep_ms: Annotated[float, "ms", between(0, 9)] = 3.0',
    "snnlab/config/schema.py": '    colour: Literal["red", "green"] = "red"',
}
AFTER = {
    "snnlab/nn/neurons/membrane.py": "    v_leak: ",
    "snnlab/experiment_fields.py": "    fold: NonNegative = 0",
    "snnlab/config/schema.py": "    test: bool = True",
}
# One process for what needs torch.
SCRIPT = """
import contextlib, io, json, sys
sys.path.insert(0, "scripts")
import build_docs
from snnlab.cli.main import main
from snnlab.config.compose import compose_experiment
listed = {}
for kind, name in (("neurons", "lif"), ("datasets", "nmnist")):
    sys.argv = ["snnlab", "list", kind, name]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        main()
    listed[name] = printed.getvalue()
record = compose_experiment(["model=mlp_lif", "neuron.drift=2", "data.sleep_ms=4", "+colour=green"], None)[0].record
entry = build_docs.entry_text("neurons", "lif", build_docs.registry("neurons").get("lif", ""))
print(json.dumps([listed, entry, build_docs.settings_page(), record]))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("field")
    for part in ("snnlab", "configs", "scripts", "docs"):
        ignored = shutil.ignore_patterns("__pycache__", "results", "tutorials")
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    for name, line in LINES.items():
        lines = (folder / name).read_text().splitlines()
        at = next(at for at, one in enumerate(lines) if one.startswith(AFTER[name]))
        lines.insert(at + 1, line)
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def run(checkout: Path, *words: str, line: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(checkout), "COMP_LINE": line, "SNNLAB_CACHE": str(checkout)}
    command = [sys.executable, *(words or ("-m", "snnlab", "-sc", "query=bash"))]
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("override", "facts"),
    mostly_long(
        [
            ("neuron.drift=-1", ("neuron.drift: ", ">= 0", "-1")),
            ("data.sleep_ms=10", ("data.sleep_ms: ", "0 and 9", "10")),
            ("colour=blue", ("colour: ", "red, green", "blue")),
            ("neuron.drif=1", ("neuron: ", "'drif'", "'drift'")),
        ],
        2,
    ),
)
def test_it_is_checked(checkout: Path, override: str, facts: tuple[str, ...]) -> None:
    done = run(checkout, "-m", "snnlab", "train", override)
    assert done.returncode == 2
    assert done.stderr.startswith(f"snnlab: {facts[0]}")
    assert all(fact in done.stderr for fact in facts)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("neuron.dri", "neuron.drift="),
        ("data.sle", "data.sleep_ms="),
        ("colou", "colour="),
        ("colour=", "colour=red colour=green"),
    ],
)
def test_it_is_completed(checkout: Path, line: str, words: str) -> None:
    assert run(checkout, line=f"snnlab train {line}").stdout == f"{words}\n"


@pytest.mark.long
def test_it_is_listed_documented_and_recorded(checkout: Path) -> None:
    done = run(checkout, "-c", SCRIPT)
    assert done.returncode == 0, done.stderr
    listed, entry, settings, record = json.loads(done.stdout.splitlines()[-1])
    row = next(one for one in listed["lif"].splitlines() if one.split()[:1] == ["drift"])
    assert all(fact in row for fact in ("a number >= 0", "mV", "0.5", "Constant input."))
    assert "sleep_ms" in listed["nmnist"]
    assert "`drift`" in entry
    assert "`sleep_ms`" in settings
    assert "`colour`" in settings
    assert record["model"]["layers"]["lif1"]["drift"] == 2
    assert (record["data"]["sleep_ms"], record["colour"]) == (4, "green")
