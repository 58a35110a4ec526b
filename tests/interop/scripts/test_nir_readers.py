"""The script that runs other readers on files of ours."""

from __future__ import annotations

import importlib
import json
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytestmark = pytest.mark.long  # imports other libraries

pytest.importorskip("nir")

# The cases that a reader reads exactly with the versions that `make test` installs.
EXACT = {
    "norse": ("lif", "lif 0.1 ms", "iaf", "iaf steps", "cuba", "cuba 0.1 ms", "conv", "conv 1 ms"),
    "snntorch": ("lif 0.1 ms", "lif gain 1 0.1 ms", "cuba 0.1 ms"),
}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script's module."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "scripts"))
    return importlib.import_module("nir_readers")


def test_a_verdict_is_equal_late_or_a_number_of_bins(script: ModuleType) -> None:
    ours = np.array([[0.0], [1.0], [1.0], [0.0]])
    assert script.verdict(ours, ours) == "equal"
    assert script.verdict(ours, np.roll(ours, 1, 0)) == "equal, one step later"
    assert script.verdict(ours, np.array([[1.0], [1.0], [2.0], [0.0]])) == "4, 2 differ"
    assert "shape" in script.verdict(ours, ours.T)


@pytest.mark.peers
@pytest.mark.parametrize("reader", EXACT)
@pytest.mark.filterwarnings("ignore")  # those of the readers
def test_installed_readers_give_the_same_spikes(script: ModuleType, reader: str, tmp_path: Path) -> None:
    if find_spec(reader) is None:
        pytest.skip(f"{reader} is not installed")
    ours = script.write(tmp_path)
    script.read(reader, tmp_path)
    errors = json.loads((tmp_path / f"{reader}.json").read_text(encoding="utf-8"))["errors"]
    for name in EXACT[reader]:
        assert name not in errors, errors[name]
        assert script.verdict(ours[name].spikes, np.load(tmp_path / f"{name}.{reader}.npy")) == "equal"


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")  # those of the readers
@pytest.mark.parametrize(
    ("reader", "names"),
    [
        ("norse", ("lif gain 1", "lif gain 1 0.1 ms", "lif steps", "recurrent")),
        ("snntorch", ("lif", "lif gain 1", "lif steps")),
        ("sinabs", ("lif", "lif gain 1", "lif steps", "iaf", "iaf steps", "recurrent", "conv", "conv 1 ms")),
    ],
)
def test_spikes_that_differ_are_those_of_the_readers_rule(
    script: ModuleType, reader: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    if find_spec(reader) is None:
        pytest.skip(f"{reader} is not installed")
    if reader == "sinabs" and tuple(map(int, version("nir").split(".")[:3])) > (1, 0, 4):
        pytest.skip("Sinabs reads what nir 1.0.4 writes")
    ours = script.write(tmp_path)
    script.read(reader, tmp_path)
    for name in names:
        theirs = np.load(tmp_path / f"{name}.{reader}.npy")
        assert script.verdict(ours[name].spikes, theirs) != "equal"
        assert script.explained(reader, script.CASES[name], ours[name], theirs), name
