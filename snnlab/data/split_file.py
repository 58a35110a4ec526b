"""A split that a file gives: a CSV of recordings and parts, or the record of another run."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from snnlab.data.grouping import divided, parts_in_words
from snnlab.data.splits import PART_WORDS, TEST, TRAIN, VAL, Split
from snnlab.errors import DataError, did_you_mean

OnDividedGroup = Literal["fail", "keep"]


def read_split(
    path: Path,
    names: Sequence[str],
    parts: np.ndarray,
    bad: Sequence[int] = (),
    groups: np.ndarray | None = None,
    on_divided_group: OnDividedGroup = "fail",
) -> Split:
    """Read which recordings are for what; a recording that is not named is for nothing.

    A `.csv` has the columns `recording` and `split` (train, val or test). A recording is its number in the store, or
    the end of its file's name, as far as it is the only one so called: `user01/0.npy`. A `.json` has lists of numbers
    `train`, `val` and `test`, as a run's `split.json` has.

    Args:
        path: The file.
        names: What the recordings are called, in their order.
        parts: 0 for training, 1 for the dataset's test recordings, 2 for its validation recordings; where any are for
            testing, those only are.
        bad: Places of recordings that are for nothing, whatever the file says.
        groups: User, speaker or session of each recording, or None.
        on_divided_group: What is done where recordings of a group are for different things: `fail`, or `keep` the file.

    Shape:
        parts, groups: `[R]`.

    Raises:
        DataError: naming the line or the key that cannot be used, a test recording that is for training, or a recording
            of a group that is divided.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("data.split_file", f"{path} cannot be read ({error})") from error
    said = _from_json(path, text, len(names)) if path.suffix.lower() == ".json" else _from_table(path, text, names)
    if (parts == TEST).any() and ((said != -1) & (said != TEST) & (parts == TEST)).any():
        place = int(np.flatnonzero((said != -1) & (said != TEST) & (parts == TEST))[0])
        raise DataError(
            "data.split_file",
            f"{path}: {names[place]} is one of the dataset's test recordings",
            "of your own recordings, folders, the table's column split and data.test_groups say which these are",
        )
    if not (said == TRAIN).any():
        raise DataError("data.split_file", f"{path} names no recordings for training")
    said[list(bad)] = -1
    if on_divided_group == "fail" and groups is not None and (found := divided(groups, said)).size:
        more = f" (of {found.size:,} such groups the first)" if found.size > 1 else ""
        raise DataError(
            "data.split_file",
            (
                f"{path}: the person or group of {names[found[0]]} is in"
                f" {parts_in_words(groups, said, int(found[0]))} both{more}"
            ),
            "data.on_divided_group=keep keeps it so",
        )
    train, test, val = (np.flatnonzero(said == part) for part in (TRAIN, TEST, VAL))
    return Split(train, val, test, f"the file {path.name}")


def _from_json(path: Path, text: str, total: int) -> np.ndarray:
    try:
        page = json.loads(text)
        given = {word: np.array(page[word], np.int64).reshape(-1) for word in ("train", "val", "test")}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError("data.split_file", f"{path} has no lists of numbers train, val and test ({error})") from error
    said = np.full(total, -1)
    for word, places in given.items():
        if places.size and not 0 <= places.min() <= places.max() < total:
            raise DataError("data.split_file", f"{path}: {word} names {places.max()}, and there are {total} recordings")
        if np.unique(places).size < places.size or (said[places] != -1).any():
            raise DataError("data.split_file", f"{path}: a recording of {word} is named twice")
        said[places] = PART_WORDS[word]
    return said


def _from_table(path: Path, text: str, names: Sequence[str]) -> np.ndarray:
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    if not {"recording", "split"} <= set(reader.fieldnames or ()):
        raise DataError("data.split_file", f"{path}: its first line must name the columns recording and split")
    ends = _by_end(names)
    said = np.full(len(names), -1)
    for row in reader:
        line = (path, reader.line_num)
        word = (row["split"] or "").strip().lower()
        if word not in PART_WORDS:
            raise _at(line, f"split must be train, val or test, got {word or 'nothing'}")
        place = _place(line, (row["recording"] or "").strip(), ends, len(names))
        if said[place] != -1:
            raise _at(line, f"{names[place]} is named twice")
        said[place] = PART_WORDS[word]
    return said


def _by_end(names: Sequence[str]) -> dict[str, list[int]]:
    """Return the places of the recordings that each end of a name means: of `a/b/c`, `a/b/c`, `b/c` and `c`."""
    ends: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        steps = name.replace("\\", "/").split("/")
        for first in range(len(steps)):
            ends.setdefault("/".join(steps[first:]), []).append(place)
    return ends


def _at(line: tuple[Path, int], message: str, hint: str = "") -> DataError:
    return DataError("data.split_file", message, hint).moved(origin=line)


def _place(line: tuple[Path, int], word: str, ends: dict[str, list[int]], total: int) -> int:
    if word.isdecimal() and word not in ends:
        if int(word) >= total:
            raise _at(line, f"there are {total} recordings, 0 to {total - 1}, not {word}")
        return int(word)
    found = ends.get(word, [])
    if len(found) != 1:
        if found:
            raise _at(line, f"{word} names {len(found)} recordings", "write more of their path")
        raise _at(line, f"{word} is no recording", did_you_mean(word, ends))
    return found[0]
