"""A suite's file, of configs/suite or of the user's, with what the command line says on top."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from snnlab.config.catalog import group_files
from snnlab.config.compose import readable_errors
from snnlab.config.folders import config_folder, groups
from snnlab.config.overrides import rivals_of
from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError, did_you_mean, listing
from snnlab.suite.settings import Choice, Suite

GROUP = "suite"


@dataclass(frozen=True)
class Asked:
    """What a command line asks for.

    Attributes:
        name: The suite's.
        settings: Of its file, with what was typed.
        choice: Which parts of it are run.
        typed: Overrides that all trainings have.
    """

    name: str
    settings: dict[str, Any]
    choice: Choice
    typed: list[str]


def asked(overrides: Sequence[str], own: Path | None) -> Asked:
    """Return which suite is to be run, and how.

    Args:
        overrides: As typed.
        own: The user's folder of YAML files.

    Raises:
        ConfigError: if there is no such suite, or an override cannot be read.
    """
    names = [text.partition("=")[2] for text in overrides if text.startswith(f"{GROUP}=")]
    if len(names) != 1:
        raise ConfigError(f"bench: name one suite, such as suite=smoke\n  {listing(group_files(GROUP, own))}")
    settings = read_suite(names[0], own)
    known = {one.name for one in fields(Suite)}
    typed, chosen = [], {}
    for text in overrides:
        head, _, leaf = text.partition("=")[0].partition(".")
        if head == GROUP:
            continue
        if head not in known:
            _require_no_slip(text, known, own)
            typed.append(text)
        elif head in ("arms", "datasets"):
            if leaf:
                raise ConfigError(f"{text}: {head} are written in the suite's file; {head}=[...] chooses among them")
            chosen[head] = _names(text, settings.get(head))
        else:
            settings[head] = {**(settings.get(head) or {}), leaf: _value(text)} if leaf else _value(text)
    return Asked(names[0], settings, Choice(**chosen), typed)


def read_suite(name: str, own: Path | None) -> dict[str, Any]:
    """Return what a suite's file says.

    Raises:
        ConfigError: if there is none of this name, or it is no mapping.
    """
    files = group_files(GROUP, own)
    if name not in files:
        own_ones = "" if own else "; one of yours is in --config-dir DIR, as DIR/suite/NAME.yaml"
        raise ConfigError(
            f"suite={name}: there is no such suite.{did_you_mean(name, files)}\n  {listing(files)}{own_ones}"
        )
    with readable_errors():
        page = OmegaConf.to_container(OmegaConf.load(files[name]))
    if not isinstance(page, Mapping):
        raise ConfigError(f"{files[name]}: expected arms: {{...}} and datasets: {{...}}")
    return {str(key): value for key, value in page.items()}


def merged(overrides: Sequence[str]) -> list[str]:
    """Return the overrides without those that a later one takes the place of: of the same setting, or of its rival."""
    gone: set[str] = set()
    kept = []
    for text in reversed(overrides):
        key, equals, _ = text.partition("=")
        if equals and not key.startswith(("+", "~")):
            if key in gone:
                continue
            gone |= {key, *rivals_of(key)}
        kept.append(text)
    return kept[::-1]


def _require_no_slip(text: str, known: Collection[str], own: Path | None) -> None:
    """Refuse what is no setting of an experiment, and one of a suite or nearly so."""
    word = text.lstrip("+~").partition("=")[0].partition(".")[0]
    if word in known:
        raise ConfigError(f"{text}: a suite's own settings take neither + nor ~; {word}=...")
    if word == "launcher":
        raise ConfigError(f"{text}: a suite's trainings are spread by engine=here, joblib, submitit or ray")
    others = {one.name for one in fields(Experiment)} | groups(config_folder(), own)
    if word not in others and (meant := did_you_mean(word, known)):
        raise ConfigError(f"{text}: there is no setting '{word}'.{meant}")


def _names(text: str, known: Any) -> list[str]:
    value = _value(text)
    names = [str(one) for one in value] if isinstance(value, list) else [str(value)]
    head = text.partition("=")[0]
    if not names:
        raise ConfigError(f"{head}: is empty; name at least one")
    for name in names:
        if name not in (known or {}):
            meant = did_you_mean(name, known or ()) or f"\n  {listing(known or ())}"
            raise ConfigError(f"{head}={name}: the suite has no such {head[:-1]}.{meant}")
    return names


def _value(text: str) -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with readable_errors():
        parsed = OverridesParser.create().parse_override(text)
    if parsed.is_sweep_override():
        raise ConfigError(f"{text}: takes one value; a list is written [a,b]")
    return parsed.value()
