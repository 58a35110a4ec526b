"""A suite's file, of configs/suite or of the user's, with what the command line says on top."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from snnlab.config.catalog import group_files
from snnlab.config.typed import one_value, put, read_file, require_no_slip
from snnlab.errors import ConfigError, did_you_mean
from snnlab.search.file_words import require_plain_queue
from snnlab.suite.settings import Choice, Suite

GROUP = "suite"


@dataclass(frozen=True)
class Asked:
    """What a command line asks for.

    Attributes:
        settings: Of its file, with what was typed.
        typed: Overrides that all trainings have.
    """

    name: str
    settings: dict[str, Any]
    choice: Choice
    typed: list[str]


def asked(overrides: Sequence[str], own: Path | None) -> Asked:
    """Return which suite is to be run, and how.

    Args:
        own: The user's folder of YAML files.

    Raises:
        ConfigError: if there is no such suite, or an override cannot be read.
    """
    names = [text.partition("=")[2] for text in overrides if text.startswith(f"{GROUP}=")]
    if len(names) != 1:
        raise ConfigError("bench", "name one suite, such as suite=smoke", allowed=group_files(GROUP, own))
    settings = read_suite(names[0], own)
    known = {one.name for one in fields(Suite)}
    typed, chosen = [], {}
    for text in overrides:
        key = text.partition("=")[0]
        head = key.partition(".")[0]
        if head == GROUP:
            continue
        if head not in known:
            _require_training(text, known, own)
            typed.append(text)
        elif head in ("arms", "datasets"):
            if "." in key:
                raise ConfigError(text, f"{head} are written in the suite's file", f"{head}=[...] chooses among them")
            chosen[head] = _names(text, settings.get(head))
        else:
            put(settings, key, one_value(text)[1])
    return Asked(names[0], settings, Choice(**chosen), typed)


def read_suite(name: str, own: Path | None) -> dict[str, Any]:
    """Return what a suite's file says.

    Raises:
        ConfigError: if there is none of this name, it is no mapping, or it would have a queue run something.
    """
    settings = read_file(GROUP, name, own, "suite", "arms: {...} and datasets: {...}")
    require_plain_queue(settings.get("submitit"), f"{GROUP}.submitit")
    return settings


def _require_training(text: str, known: Collection[str], own: Path | None) -> None:
    """Refuse what is no override of a training, and a word of a suite or of a grid."""
    word = text.lstrip("+~").partition("=")[0].partition(".")[0]
    if word in known:
        raise ConfigError(text, "a suite's own settings take neither + nor ~", f"{word}=...")
    if word == "launcher":
        raise ConfigError(text, "a suite's trainings are spread by engine=here, joblib, submitit or ray")
    require_no_slip(text, known, own)


def _names(text: str, known: Any) -> list[str]:
    head, value = one_value(text)
    names = [str(one) for one in value] if isinstance(value, list) else [str(value)]
    if not names:
        raise ConfigError(head, "is empty", "name at least one")
    for name in names:
        if name not in (known or {}):
            near = did_you_mean(name, known or ())
            raise ConfigError(f"{head}={name}", f"the suite has no such {head[:-1]}", near, () if near else known or ())
    return names
