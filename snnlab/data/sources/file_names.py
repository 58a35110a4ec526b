"""Labels, persons and numbers of recordings in the names of their files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from snnlab.data.sources.label_table import Discovery, Entry
from snnlab.data.splits import TEST, TRAIN
from snnlab.errors import ConfigError, DataError, join_names
from snnlab.experiment_fields import OnBad

# The last one is for parts of a name that say nothing.
FIELDS = {"label": "[^/]+?", "group": "[^/]+?", "number": "[0-9]{1,18}", "any": "[^/]*?"}
_FEW = 3


def fields_of_names(names: str) -> list[str]:
    """Return the fields of a pattern, in their order: each at most once, but for `any`, and `label`."""
    fields = re.findall(r"\{(.*?)\}", names)
    twice = [field for field, times in Counter(fields).items() if times > 1 and field != "any"]
    if not set(fields) <= FIELDS.keys() or twice or "label" not in fields:
        expected = "expected {label} and, each once, perhaps {group} and {number}; {any} stands for the rest"
        raise ConfigError("names", f"{expected}, got {names}")
    return fields


def discover_names(
    root: Path,
    names: str,
    files: Iterable[Path],
    test_numbers: Collection[int] | None = None,
    on_bad: OnBad = "fail",
) -> Discovery:
    """Return the recordings among files, with what their names say.

    Args:
        root: The folder.
        names: Pattern of the paths below it, without the ending, such as `{group}/{label}_{number}`.
        files: The files, below the folder.
        test_numbers: Numbers of the recordings for testing; the others are for training, and groups are not kept apart.
        on_bad: `skip` leaves out the files whose names do not fit; a note counts them.

    Raises:
        DataError: if there are no files, or their names do not fit.
    """
    parts = re.split(r"\{(.*?)\}", names)
    form = re.compile(
        "".join(
            re.escape(text) if place % 2 == 0 else f"({'?:' if text == 'any' else f'?P<{text}>'}{FIELDS[text]})"
            for place, text in enumerate(parts)
        )
    )
    entries: list[Entry] = []
    others: list[str] = []
    for path in sorted(files):
        inner = path.relative_to(root)
        found = form.fullmatch(inner.with_suffix("").as_posix())
        if found is None:
            others.append(str(inner))
            continue
        said = found.groupdict()
        part = None if test_numbers is None else TEST if int(said["number"]) in test_numbers else TRAIN
        entries.append(Entry(path, said["label"], group=said.get("group") if part is None else None, part=part))
    more = f" and {len(others) - _FEW:,} more" if len(others) > _FEW else ""
    unfit = f"names that are not like {names}: {join_names(others[:_FEW])}{more}"
    if others and (on_bad == "fail" or not entries):
        raise DataError("data.names", f"{root} holds {unfit}", "data.on_bad=skip leaves these files out")
    if not entries:
        raise DataError("data.root", f"no recordings in {root}")
    return Discovery(entries, [f"left out (data.on_bad=skip): {unfit}"] if others else [])
