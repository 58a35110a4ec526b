"""The YAML files that can be chosen, and what their first comment lines say of them."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path

from snnlab.config.folders import config_folder, groups
from snnlab.printable import printable

# Not within `CC BY 4.0. 2.4 GB`, nor after an initial.
_SENTENCE_END = re.compile(r"(?<=[a-z)\d]\.) +(?=[^\d\s])")

# What users call the files of a group, where that is not the group's own name.
PLURALS = {
    "model": "models",
    "experiment": "experiments",
    "neuron": "presets",
    "optimizer": "optimizers",
    "scheduler": "schedulers",
    "trainer": "trainers",
    "callbacks": "callbacks",
    "logger": "loggers",
    "sweep": "sweeps",
    "suite": "suites",
}


def file_kinds(own: Path | None) -> dict[str, str]:
    """Return the groups by what users call their files; `own` is the user's folder."""
    found = groups(config_folder(), own)
    known = {words: group for group, words in PLURALS.items() if group in found}
    return known | {group: group for group in sorted(found - PLURALS.keys())}


def group_files(group: str, own: Path | None) -> dict[str, Path]:
    """Return a group's files by name, snnlab's own and the user's."""
    folders = [folder / group for folder in (own, config_folder()) if folder]
    return dict(sorted((path.stem, path) for folder in folders for path in folder.glob("*.yaml")))


def description(path: Path) -> str:
    """Return what a file says of itself: the first sentence of its second comment line on, or the class that it names.

    The first comment line is the command that runs it; Hydra's own `@package` is passed over.
    """
    text = path.read_text(encoding="utf-8")
    head = [line for line in text.splitlines() if not line.startswith("# @package")]
    said = [line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), head[1:])]
    if said:
        return printable(_SENTENCE_END.split(" ".join(said))[0])
    target = re.search(r"^_target_: *(\S+)", text, re.MULTILINE)
    return printable(target[1]) if target else ""
