"""The YAML files of sweeps and suites, with the overrides of the command line."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from snnlab.config.catalogue import catalogue
from snnlab.config.compose import compose_experiment, parse_assignment, refuse_misspelled, set_entry
from snnlab.config.folders import config_folder, group_files, groups
from snnlab.config.node_checks import declared_field
from snnlab.config.own_files import read_own
from snnlab.errors import ConfigError, did_you_mean, join_names
from snnlab.experiments.search_plan import tried_error
from snnlab.experiments.space import NumberRange, Space, overrides, require_plain_queue, with_floats
from snnlab.experiments.suite_settings import Suite, SuiteSelection
from snnlab.experiments.sweep_settings import Sweep
from snnlab.spec.annotations import is_any_number
from snnlab.spec.override_texts import key_of


def read_file(group: str, name: str, user_dir: Path | None, what: str) -> dict[str, Any]:
    """Return the settings of a group's file.

    Args:
        user_dir: The user's folder of YAML files.
        what: What such a file is called, for a message.
    """
    files = group_files(group, user_dir)
    if name not in files:
        location_hint = "" if user_dir else f"one of yours is in --config-dir DIR, as DIR/{group}/NAME.yaml"
        raise ConfigError(
            f"{group}={name}", f"there is no such {what}", did_you_mean(name, files) or location_hint, files
        )
    content = read_own(files[name], group, groups(config_folder(), user_dir)).content
    return {str(key): value for key, value in content.items()}


SUITE = "suite"


@dataclass(frozen=True)
class SuiteRequest:
    """A request to run a suite.

    Attributes:
        settings: Those of its file, with the typed ones.
        typed: Overrides of all trainings.
    """

    name: str
    settings: dict[str, Any]
    choice: SuiteSelection
    typed: list[str]


def read_suite_request(overrides: Sequence[str], user_dir: Path | None) -> SuiteRequest:
    """Return the suite that a command line requests, with its settings and overrides.

    Args:
        user_dir: The user's folder of YAML files.
    """
    names = [text.partition("=")[2] for text in overrides if text.startswith(f"{SUITE}=")]
    if len(names) != 1:
        raise ConfigError("bench", "name one suite, such as suite=smoke", allowed=group_files(SUITE, user_dir))
    settings = read_suite(names[0], user_dir)
    known = {one.name for one in fields(Suite)}
    typed, chosen = [], {}
    for text in overrides:
        key = text.partition("=")[0]
        head = key.partition(".")[0]
        if head == SUITE:
            continue
        if head not in known:
            _require_training(text, known, user_dir)
            typed.append(text)
        elif head in ("methods", "datasets"):
            if "." in key:
                raise ConfigError(text, f"{head} are defined in the suite's file", f"{head}=[...] chooses among them")
            chosen[head] = _names_in(text, settings.get(head))
        else:
            set_entry(settings, key, parse_assignment(text)[1])
    return SuiteRequest(names[0], settings, SuiteSelection(**chosen), typed)


def read_suite(name: str, user_dir: Path | None) -> dict[str, Any]:
    """Return the settings of a suite's file."""
    settings = read_file(SUITE, name, user_dir, "suite")
    require_plain_queue(settings.get("submitit"), f"{SUITE}.submitit")
    return settings


def _require_training(text: str, known: Collection[str], user_dir: Path | None) -> None:
    """Refuse an override that is not one of a training, and a misplaced setting of a suite or a grid."""
    word = text.lstrip("+~").partition("=")[0].partition(".")[0]
    if word in known:
        raise ConfigError(text, "a suite's settings take neither + nor ~", f"{word}=...")
    if word == "launcher":
        raise ConfigError(text, "a suite's trainings are distributed by engine=here, joblib, submitit or ray")
    refuse_misspelled(text, known, user_dir)


def _names_in(text: str, known: Any) -> list[str]:
    head, value = parse_assignment(text)
    names = [str(one) for one in value] if isinstance(value, list) else [str(value)]
    if not names:
        raise ConfigError(head, "is empty", "name at least one")
    for name in names:
        if name not in (known or {}):
            near = did_you_mean(name, known or ())
            raise ConfigError(f"{head}={name}", f"the suite has no such {head[:-1]}", near, () if near else known or ())
    return names


SWEEP = "sweep"
DEFAULT_SWEEP = "default"
# Settings that are typed as `sweep.KEY`; `seed` alone is a setting of the trainings.
SWEEP_SETTINGS = {field.name for field in fields(Sweep)} - {"seed"}


def sweep_settings(typed: Sequence[str], user_dir: Path | None) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of a search, and the overrides of every trial.

    Args:
        typed: The overrides of the command.
        user_dir: The user's folder of YAML files.
    """
    chosen = [text.partition("=")[2] for text in typed if text.startswith(f"{SWEEP}=")]
    if len(chosen) > 1:
        raise ConfigError("sweep", f"choose one file, not {join_names(chosen)}")
    name = chosen[0] if chosen else DEFAULT_SWEEP
    changes, others = split_sweep_settings([text for text in typed if not text.startswith(f"{SWEEP}=")])
    settings = read_sweep(name, user_dir)
    for key, value in changes.items():
        set_entry(settings, key, value)
    for text in others:
        _require_trial(text, user_dir)
    return settings, others


def read_sweep(name: str, user_dir: Path | None) -> dict[str, Any]:
    """Return the settings of a sweep's file."""
    settings = read_file(SWEEP, name, user_dir, "file")
    require_plain_queue(settings.get("submitit"), f"{SWEEP}.submitit")
    return settings


def with_declared_numbers(
    space: Space, node: Mapping[str, Any], common: Sequence[str], config_dir: str | None
) -> dict[str, Any]:
    """Return a search space's YAML in which ranges of settings that take any number are of floats, whatever their ends.

    Args:
        space: The space of that YAML.
        node: The YAML.
        common: Overrides of all trials.
        config_dir: The user's folder of YAML files.
    """
    left = {name for name, range_ in space.parameters.items() if isinstance(range_, NumberRange) and range_.is_integer}
    floats: set[str] = set()
    for values in space.probes():
        if here := left & values.keys():
            try:
                experiment, _ = compose_experiment([*common, *overrides(values)], config_dir)
            except ConfigError as error:
                raise tried_error(error, values) from error
            known, tree = catalogue(experiment.plugins), {"neuron": experiment.neuron, **(experiment.record or {})}
            fields_here = {name: declared_field(known, tree, key_of(name), experiment.plugins) for name in here}
            floats |= {name for name, field in fields_here.items() if field and is_any_number(field.annotation)}
            left -= here
    return with_floats(node, floats)


def split_sweep_settings(overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the values of `sweep.KEY=VALUE` by key, and the other overrides."""
    settings: dict[str, Any] = {}
    others = []
    for text in overrides:
        plain = text.lstrip("+")
        if not plain.startswith(f"{SWEEP}."):
            others.append(text)
            continue
        key, value = parse_assignment(plain)
        settings[key.removeprefix(f"{SWEEP}.")] = value
    return settings, others


def _require_trial(text: str, user_dir: Path | None) -> None:
    """Refuse an override that is not one of a training, and is likely meant for the search."""
    key, value = key_of(text), text.partition("=")[2]
    if key in SWEEP_SETTINGS:
        raise ConfigError(text, "is a setting of the sweep", f"write {SWEEP}.{text.lstrip('+')}")
    refuse_misspelled(text, (SWEEP, "resume"), user_dir)
    if "," in value and value[0] not in "[{('\"" and "(" not in value:
        raise ConfigError(text, f"several values are a space to search: '{SWEEP}.space={{{key}: [{value}]}}'")
