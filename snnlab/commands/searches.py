"""What a search has come to so far, while it goes on: its trials and its pictures, read from its study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from snnlab.errors import RecordError

if TYPE_CHECKING:
    from optuna import Study


def trials_now(folder: Path, page: Mapping[str, Any]) -> str:
    """Return what `trials.csv` would hold now.

    Args:
        folder: The search's folder.
        page: Its `sweep.yaml`.

    Raises:
        SnnlabError: if there is no study that can be read.
    """
    from snnlab.search.plan import read_plan
    from snnlab.search.report import trials_text

    study = _study(folder, page)
    return trials_text(read_plan(folder, page["sweep"]), study.get_trials(deepcopy=False))


def drawn_now(folder: Path, page: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    """Return the pictures that the search's trials so far are enough for, each with the name of its file.

    Args:
        folder: The search's folder.
        page: Its `sweep.yaml`.

    Raises:
        SnnlabError: if there is no study that can be read.
    """
    from snnlab.search.pictures import draw
    from snnlab.search.study import quiet_optuna

    study = _study(folder, page)
    with TemporaryDirectory() as place, quiet_optuna():
        files = draw(study, list(page["sweep"]["objectives"]), Path(place) / "pictures")
        return [(path.stem, path.read_bytes()) for path in files]


def _study(folder: Path, page: Mapping[str, Any]) -> Study:
    from snnlab.search.study import FILE, open_storage, quiet_optuna, require_optuna, storage_url

    require_optuna()
    named = page["sweep"].get("storage")
    if named is None and not (folder / FILE).is_file():
        raise RecordError(f"report: {folder}: the search has no trial yet")

    import optuna

    with quiet_optuna():
        storage = open_storage(storage_url(folder, named))
        try:
            return optuna.load_study(study_name=folder.absolute().name, storage=storage)
        except KeyError as error:
            raise RecordError(f"report: {folder}: the search has no trial yet") from error
