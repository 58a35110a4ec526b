"""The grid of `snnlab train -m`: its values, and how its runs are started."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from hydra.core.override_parser.overrides_parser import OverridesParser

from snnlab.config.compose import parse_assignment, refuse_misspelled, set_entry
from snnlab.config.hydra_errors import readable_errors
from snnlab.errors import ROOT, ConfigError, did_you_mean, join_names
from snnlab.spec.field import type_problem
from snnlab.spec.interval import Count
from snnlab.spec.signatures import check_settings


@dataclass(frozen=True)
class Axes:
    """The axes of a grid.

    Attributes:
        fixed: Overrides of every run, as typed.
        swept: By setting, an override for each of its values.
    """

    fixed: Sequence[str]
    swept: Mapping[str, Sequence[str]]

    def points(self) -> list[tuple[str, ...]]:
        """Return the overrides of each run, the last setting changing fastest, as with Hydra."""
        return list(itertools.product(*self.swept.values()))

    def values(self, overrides: Sequence[str]) -> dict[str, str]:
        """Return the values of the swept settings among a run's overrides, as text."""
        pairs = (text.lstrip("+~").partition("=") for text in overrides)
        return {key: value for key, _, value in pairs if key in self.swept}


def read_axes(overrides: Sequence[str]) -> Axes:
    """Return the axes of a grid from the typed overrides."""
    parser = OverridesParser.create()
    fixed: list[str] = []
    swept: dict[str, Sequence[str]] = {}
    for text in overrides:
        key, _, value = text.partition("=")
        if not value.strip() and "=" in text:
            raise ConfigError(key, "is empty", f"a grid takes values, such as {key}=1,2")
        with readable_errors():
            parsed = parser.parse_overrides([text])[0]
        if not parsed.is_sweep_override() or not parsed.is_discrete_sweep():
            fixed.append(text)
            continue
        if "glob(" in value:
            raise ConfigError(text, f"name the files, such as {key}=a,b (snnlab list {key})")
        name = parsed.get_key_element()
        values = [f"{name}={value}" for value in parsed.sweep_string_iterator()]
        if twice := [value for value in dict.fromkeys(values) if values.count(value) > 1]:
            raise ConfigError(text, f"{join_names(twice)} is given twice", "the runs of a grid must differ")
        if not values:
            raise ConfigError(text, "has no value, so there is no run")
        swept[name.lstrip("+~")] = values
    return Axes(fixed, swept)


Launcher = Literal["basic", "joblib", "submitit", "ray"]
_LAUNCH_SETTINGS = ("launcher", "workers", "submitit")
# Names of Hydra's launchers, with the settings that replace them.
_HYDRA_LAUNCHERS = {"submitit_local": "launcher=submitit submitit.cluster=local", "submitit_slurm": "launcher=submitit"}


@dataclass(frozen=True)
class LauncherSettings:
    """The launcher of a grid's runs.

    Args:
        launcher: `basic`: in this process, one after the other; `joblib`: in processes of this machine; `submitit`: in
            a cluster's queue; `ray`.
        workers: Number of runs at the same time.
        submitit: Parameters of submitit's executor, such as {cluster: slurm, slurm_partition: gpu}.
    """

    launcher: Launcher = "basic"
    workers: Count = 2
    submitit: Mapping[str, Any] | None = None

    @property
    def engine(self) -> str:
        """The name of the engine that its workers have."""
        return "here" if self.launcher == "basic" else self.launcher

    @property
    def slots(self) -> int:
        """The number of runs that are trained at the same time."""
        return 1 if self.launcher == "basic" else self.workers

    @property
    def setting_names(self) -> tuple[str, str, str]:
        """The names that messages use: of the engine's setting, of submitit's, and of the engine without processes."""
        return "launcher", "submitit", "basic"


def shares_gpus(trainer: Mapping[str, Any]) -> bool:
    """Return whether trainings with such a trainer can each have one of several GPUs.

    False for trainers of the CPU, of several devices, or of a fixed device.
    """
    kinds, one = ("auto", "gpu", "cuda"), (1, "1", "auto")
    return trainer.get("accelerator", "auto") in kinds and trainer.get("devices", "auto") in one


def split_launch(arguments: Sequence[str], *, several: bool) -> tuple[LauncherSettings, list[str]]:
    """Return the launcher of `launcher=WORD workers=N submitit.KEY=VALUE`, and the other arguments.

    Args:
        arguments: Overrides.
        several: Whether they are of several runs.
    """
    launch_arguments = [
        text for text in arguments if "=" in text and text.partition("=")[0].partition(".")[0] in _LAUNCH_SETTINGS
    ]
    others = [text for text in arguments if text not in launch_arguments]
    for text in others:
        if "=" in text and text.partition("=")[0].isalpha():
            refuse_misspelled(text, _LAUNCH_SETTINGS, None)
    if launch_arguments and not several:
        raise ConfigError(launch_arguments[0], "is for several runs", "write snnlab train -m")
    return _check_launch(_parse_values(launch_arguments)), others


def _check_launch(values: Mapping[str, Any]) -> LauncherSettings:
    word = values.get("launcher", "basic")
    if isinstance(word, str) and (problem := type_problem(word, Launcher)):
        hint = f"write {_HYDRA_LAUNCHERS[word]}" if word in _HYDRA_LAUNCHERS else did_you_mean(word, get_args(Launcher))
        raise ConfigError("launcher", problem, hint)
    check_settings(LauncherSettings, values, ROOT, "a launcher")
    launch = LauncherSettings(**values)
    if launch.launcher == "basic" and len(values) > ("launcher" in values):
        raise ConfigError("launcher", "basic trains one run after the other", "workers and submitit need another one")
    return launch


def _parse_values(texts: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for text in texts:
        set_entry(values, *parse_assignment(text))
    return values
