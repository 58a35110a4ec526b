"""What a search has come to so far, while it goes on: its trials and its pictures, read from its study."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import DatabaseError, connect
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from snnlab.errors import RecordError
from snnlab.masking import masked

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna import Study


def trials_now(folder: Path, page: Mapping[str, Any]) -> str:
    """Return what `trials.csv` would hold now.

    Args:
        page: Its `sweep.yaml`.

    Raises:
        SnnlabError: if there is no study that can be read.
    """
    from snnlab.search.plan import read_plan
    from snnlab.search.report import trials_text

    with _study(folder, page) as study:
        return trials_text(read_plan(folder, page["sweep"]), study.get_trials(deepcopy=False))


def drawn_now(folder: Path, page: Mapping[str, Any]) -> list[tuple[str, Figure]]:
    """Return the pictures that the search's trials so far are enough for, each with its name.

    Args:
        page: Its `sweep.yaml`.

    Raises:
        SnnlabError: if there is no study that can be read.
    """
    from snnlab.search.pictures import figures
    from snnlab.search.study import quiet_optuna

    with _study(folder, page) as study, quiet_optuna():
        return list(figures(study, list(page["sweep"]["objectives"])).items())


@contextmanager
def _study(folder: Path, page: Mapping[str, Any]) -> Iterator[Study]:
    """Give the study of a search, out of a copy of its file: nothing is written, and nothing but that file is opened.

    Raises:
        RecordError: if there is none that can be read, or it is kept elsewhere.
    """
    from snnlab.search.study import FILE, open_storage, quiet_optuna, require_optuna, storage_url

    require_optuna()
    named, path = page["sweep"].get("storage"), folder / FILE
    if named is not None:
        raise RecordError(
            "report",
            (
                f"{folder}: its trials are in {masked(str(named))}, which no report opens: it stands"
                " in a file that anybody may have written"
            ),
            f"there is a report once {folder}/search.json is there",
        )
    if path.is_symlink() or not path.is_file():
        raise RecordError("report", f"{folder}: the search has no trial yet")

    import optuna

    with TemporaryDirectory() as place, quiet_optuna():
        _copy(path, Path(place) / FILE)
        storage = open_storage(storage_url(Path(place), None))
        try:
            # The only one in it, which is called as the folder was when the search began.
            yield optuna.load_study(study_name=None, storage=storage)
        except (KeyError, ValueError) as error:
            raise RecordError("report", f"{folder}: the search has no trial yet") from error


def _copy(path: Path, copy: Path) -> None:
    """Copy a database as it is at one moment; one that was left in the middle of a change is mended in the copy."""
    try:
        with (
            closing(connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as one,
            closing(connect(copy)) as other,
        ):
            one.backup(other)
    except DatabaseError:
        for end in ("", "-journal", "-wal"):
            left = path.with_name(f"{path.name}{end}")
            if left.is_file() and not left.is_symlink():
                shutil.copyfile(left, copy.with_name(f"{copy.name}{end}"))
