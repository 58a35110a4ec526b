"""Fixtures for attacks: a canary file that only executed code can write, and untrusted files."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from omegaconf import OmegaConf

from snnlab import train

from ..cli.conftest import Outcome, snnlab

__all__ = ["Outcome", "snnlab"]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working folder that is on no search path, as with the installed command."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return place


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """Return the path of a file that only the code of an attack would write."""
    return tmp_path / "canary"


@pytest.fixture
def theirs(workplace: Path) -> Callable[[Mapping[str, str]], Path]:
    """Return a function that writes an untrusted folder of YAML files, `theirs`."""

    def write(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            path = workplace / "theirs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return workplace / "theirs"

    return write


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """Return the address of a server on this machine, and the list of requested paths."""
    requested: list[str] = []

    class Handler(BaseHTTPRequestHandler):  # requests other than GET get an error, and are recorded too
        def do_GET(self) -> None:
            requested.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}", requested
    listening.shutdown()
    listening.server_close()
    thread.join()


# A run of a second: two small batches of a small network, and nothing drawn.
SHORT = (
    "model=mlp_lif",
    "model.layers.fc1.out_features=8",
    "data.num_bins=4",
    "data.batch_size=8",
    "trainer.max_epochs=1",
    "+trainer.limit_train_batches=2",
    "+trainer.limit_val_batches=1",
    "+trainer.limit_test_batches=1",
    "trainer.accelerator=cpu",
    "plots=null",
    "monitors=null",
)
GAIN = """
import torch
from torch import nn
from snnlab.nn import LAYERS

@LAYERS.register("{name}")
class Gain(nn.Module):
    def __init__(self, in_shape, start: float = 1.0):
        super().__init__()
        self.factor = nn.Parameter(torch.full((in_shape[0],), start))

    def forward(self, x):
        return x * self.factor
"""


@pytest.fixture(scope="session")
def digits_store(digits_folder: Path) -> str:
    return str(digits_folder)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Path:
    """Return a run of this user's, without plugins."""
    folder = tmp_path_factory.mktemp("trained")
    return train(*SHORT, f"data.store_dir={digits_store}", f"output_dir={folder}").folder


@pytest.fixture(scope="session")
def plugged(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Path:
    """Return a run of this user's that needs a plugin, `attacked_gain`, next to `outputs`."""
    folder = tmp_path_factory.mktemp("plugged")
    (folder / "attacked_gain.py").write_text(GAIN.format(name="attacked_gain"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        layer = "+model.layers.gain={type: attacked_gain, after: flatten}"
        words = (*SHORT, f"data.store_dir={digits_store}", "plugins=[attacked_gain]", layer)
        return train(*words, "output_dir=outputs").folder.absolute()


def edited(run: Path, folder: Path, changes: Mapping[str, object]) -> Path:
    """Return a copy of a run with changes of its config.yaml, by dotted keys."""
    shutil.copytree(run, folder)
    cfg = OmegaConf.load(folder / "config.yaml")
    for key, value in changes.items():
        OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    OmegaConf.save(cfg, folder / "config.yaml")
    return folder


class Evil:
    """Writes the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return eval, (f"open({str(self.canary)!r}, 'w').close()",)
