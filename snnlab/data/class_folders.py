"""Recordings in a folder for each class, perhaps below folders of what they are for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from snnlab.data.formats import SUFFIXES
from snnlab.data.listing import Entry, Listed
from snnlab.data.splits import PART_WORDS, TRAIN
from snnlab.errors import DataError, listing

# Files that a note names.
_FEW = 3

Parts = list[tuple[Path, int | None]]
"""Folders that hold a folder for each class, and what each is for; None where nothing says."""


def from_folders(root: Path, suffixes: Sequence[str] = SUFFIXES) -> Listed:
    """List `root/CLASS/...`, or `root/train/CLASS/...`, `root/val/CLASS/...`, `root/test/CLASS/...`, sorted by path.

    Args:
        root: The folder.
        suffixes: How the names of files end.

    Raises:
        DataError: if there are none, or it cannot be told whether a folder is a class or a part.
    """
    parts, notes = _parts(root, suffixes)
    entries: list[Entry] = []
    others: list[Path] = []
    loose: list[Path] = []
    for above, part in parts:
        loose += [path for path in sorted(above.iterdir()) if _is_recording(path, suffixes)]
        others += [path for path in sorted(above.iterdir()) if _leads_nowhere(path)]
        for folder in _folders(above):
            files = sorted(_files(folder))
            found = [path for path in files if _is_recording(path, suffixes)]
            entries += [Entry(path, folder.name, part=part) for path in found]
            others += [path for path in files if not _is_recording(path, suffixes)]
            if not found:
                notes.append(f"no recordings in {folder}")
    if not entries:
        table = ", or data.labels names a table of them" if suffixes is SUFFIXES else ""
        raise DataError(
            "data.root",
            f"no recordings in {root}, files that end in {listing(suffixes)}",
            f"it should hold a folder for each class, {root}/CLASS/*{suffixes[0]}, perhaps below train, val and"
            f" test{table}",
        )
    if all(entry.part not in (None, TRAIN) for entry in entries):
        raise DataError(
            "data.root", f"{root} holds {listing((above.name for above, _ in parts))}, and nothing in train"
        )
    nowhere = [path for path in others if _leads_nowhere(path)]
    endings = [path for path in others if path not in set(nowhere)]
    left = ((loose, "in no class's folder"), (nowhere, "links that lead nowhere"), (endings, "for their endings"))
    return Listed(entries, [*notes, *(_left_out(root, paths, why) for paths, why in left if paths)])


def _parts(root: Path, suffixes: Sequence[str]) -> tuple[Parts, list[str]]:
    """Return the folders that hold a folder for each class, and lines of what is beside them and is left out.

    A folder called train may be for training, or hold the recordings of a class of trains.

    Raises:
        DataError: if it cannot be told which.
    """
    named = [folder for folder in _folders(root) if folder.name.lower() in PART_WORDS]
    if not named:
        return [(root, None)], []
    others = [folder for folder in _folders(root) if folder not in named]
    beside = [folder for folder in others if _has_recordings(folder, suffixes)]
    divided = [folder for folder in named if any(_has_recordings(inner, suffixes) for inner in _folders(folder))]
    direct = [folder for folder in named if folder not in divided and _has_recordings(folder, suffixes)]
    names = listing(folder.name for folder in divided or direct)
    if beside and not divided:
        return [(root, None)], [f"taken for a class, as the folders beside: {names}"] if direct else []
    if beside:
        raise DataError(
            "data.root",
            f"{root} holds {names}, with a folder for each class, and beside these"
            f" {listing(folder.name for folder in beside)}, which hold recordings too",
            "recordings that are for something belong below train, val and test alone; a class of such a name needs"
            " another one, or a table (data.labels)",
        )
    if direct:
        raise DataError(
            "data.root", f"{direct[0]} holds recordings, and no folder for each class, {direct[0]}/CLASS/*{suffixes[0]}"
        )
    notes = [_left_out(root, others, f"beside {names}")] if others else []
    return [(folder, PART_WORDS[folder.name.lower()]) for folder in named], notes


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise DataError("data.root", f"{root} cannot be read ({error.strerror or error})") from error


def _files(folder: Path) -> Iterator[Path]:
    """Yield what is in a folder and below it and is no folder; what is hidden is passed over."""
    for path in folder.rglob("*"):
        if not path.is_dir() and not any(name.startswith(".") for name in path.relative_to(folder).parts):
            yield path


def _has_recordings(folder: Path, suffixes: Sequence[str]) -> bool:
    return any(_is_recording(path, suffixes) for path in _files(folder))


def _is_recording(path: Path, suffixes: Sequence[str]) -> bool:
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _left_out(root: Path, paths: Sequence[Path], why: str) -> str:
    shown = listing(str(path.relative_to(root)) for path in paths[:_FEW])
    more = f" and {len(paths) - _FEW:,} more" if len(paths) > _FEW else ""
    return f"left out, {why}: {shown}{more}"
