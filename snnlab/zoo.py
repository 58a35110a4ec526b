"""Trained networks that come with snnlab: `zoo:NAME` names one wherever a command takes a run's folder.

Each is a folder of `snnlab/pretrained` with the files of a run and its weights, `weights.safetensors`. Nothing writes
into it.
"""

from __future__ import annotations

from pathlib import Path

from snnlab.bundles import SUFFIX, bundle_folder, is_bundle
from snnlab.errors import RunFolderError, join_names

PREFIX, CARD_FILE = "zoo:", "card.yaml"
FOLDER = Path(__file__).resolve().parent / "pretrained"


def zoo_names() -> list[str]:
    """Return the names of the networks."""
    return sorted(path.parent.name for path in FOLDER.glob("*/config.yaml"))


def run_path(named: str | Path) -> Path:
    """Return the folder of a run that a user names: of `zoo:NAME` or of a bundle NAME.snn, else the path itself."""
    text = str(named)
    if not text.startswith(PREFIX):
        path = Path(named).expanduser()
        return bundle_folder(path) if path.suffix.lower() == SUFFIX and path.is_file() else path
    names = zoo_names()
    name = text.removeprefix(PREFIX)
    if name not in names:
        hint = f"there are {join_names(PREFIX + known for known in names)}"
        raise RunFolderError(text, "no network of this name comes with snnlab", hint)
    return FOLDER / name


def is_packaged(run: Path) -> bool:
    """Return whether a folder is that of a packaged network, which is read-only and as trusted as snnlab itself."""
    return run.parent.name == FOLDER.name and run.resolve().parent == FOLDER


def run_label(run: Path) -> str:
    """Return how a user names a run: `zoo:NAME` for a packaged network, `NAME.snn` for a bundle, else its path."""
    if is_bundle(run):
        return f"{run.name}{SUFFIX}"
    return f"{PREFIX}{run.name}" if is_packaged(run) else str(run)
