"""The search space: ranges, choices and conditions, by setting.

optimizer.lr: {low: 1e-4, high: 1e-2, log: true}
model.layers.fc1.out_features: {low: 32, high: 256, step: 32}
neuron: {choices: [lif, cuba_lif]}                               # a file of a group, or values
neuron.tau_syn: {low: 2.0, high: 20.0, when: {neuron: cuba_lif}}
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from snnlab.errors import ConfigError, did_you_mean, join_names
from snnlab.spec.interval import above
from snnlab.spec.override_texts import key_of, written
from snnlab.spec.signatures import check_settings

if TYPE_CHECKING:
    import optuna
# Settings that configure Hydra, with any prefix or suffix, and settings that name code.
_CODE = re.compile(r"(?<![\w-])hydra(?![\w-])|^plugins(?![\w-])")
# Allowed parameters of a cluster's queue: how much, how long, where. Others are commands or are copied into scripts.
_QUEUE_PARAMETERS = re.compile(
    r"cluster|name|nodes|timeout_min|mem_gb|stderr_to_stdout|(cpus|gpus|tasks)_per_(node|task)"
    r"|slurm_(partition|qos|account|constraint|gres|time|mem|mem_per_(cpu|gpu|node)|nodes|ntasks_per_node|exclusive"
    r"|cpus_per_(task|gpu)|gpus_per_(node|task)|array_parallelism|exclude|nodelist|max_num_timeout|signal_delay_s|wckey)"
)
_PLAIN_QUEUE_VALUE = re.compile(r"[\w.,:@%+*&|()\[\]-]*")


def names_code(override: str) -> bool:
    """Return whether an override, or the name of a setting, can run code."""
    return _CODE.search(key_of(override)) is not None


def require_plain_queue(settings: Any, place: str) -> None:
    """Refuse parameters of a cluster's queue that are commands, or could become commands in its scripts.

    Args:
        settings: submitit's parameters from a file.
        place: Their place in the configuration, for the error.
    """
    for name, value in settings.items() if isinstance(settings, Mapping) else ():
        plain = (
            value is None
            or isinstance(value, bool | int | float)
            or (isinstance(value, str) and _PLAIN_QUEUE_VALUE.fullmatch(value))
        )
        if not _QUEUE_PARAMETERS.fullmatch(str(name)) or not plain:
            raise ConfigError(f"{place}.{name}", "a file must not set this queue parameter", "the command line can")


PLACE = "sweep.space"
_SETTING = re.compile(r"[+~]{0,2}[A-Za-z_][\w./@-]*")
Values = dict[str, Any]


@dataclass(frozen=True)
class NumberRange:
    """Numbers from `low` to `high`; integers if both are integers, which those of a float setting never are.

    Args:
        log: Whether the distribution is log-uniform.
        step: Distance of the allowed values, from `low`.
        when: Condition: settings with one value, or a list of values, for which this range is searched.
    """

    low: float
    high: float
    log: bool = False
    step: Annotated[float | None, above(0)] = None
    when: Mapping[str, Any] | None = None

    @property
    def is_integer(self) -> bool:
        """True if the numbers are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int) and not isinstance(self.step, float)

    def __str__(self) -> str:
        kind = "whole numbers" if self.is_integer else "numbers"
        steps = "" if self.step is None else f" in steps of {self.step:g}"
        return f"{kind} {self.low:g} to {self.high:g}{steps}{' (log)' if self.log else ''}"

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        """Return a number that Optuna's trial suggests."""
        if self.is_integer:
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(name, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def samples(self) -> list[Any]:
        """Return both ends, with the type of the suggestions."""
        return [self.low, self.high] if self.is_integer else [float(self.low), float(self.high)]

    def has(self, value: Any) -> bool:
        """Return whether a value is one of these numbers."""
        is_number = isinstance(value, int if self.is_integer else (int, float)) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high

    def points(self, place: str) -> list[Any]:
        """Return all numbers of the range, for a grid."""
        if self.log or (self.step is None and not self.is_integer):
            raise ConfigError(place, "a grid needs choices, or a step")
        step = self.step or 1
        count = int((self.high - self.low) / step + 1e-9) + 1
        return [self.low + k * step for k in range(count)]


@dataclass(frozen=True)
class Categorical:
    """One of several values.

    Args:
        choices: The values: numbers, words, lists, mappings.
        when: Condition, as of a `NumberRange`.
    """

    choices: Sequence[Any]
    when: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return " or ".join(map(written, self.choices))

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        """Return a value that Optuna's trial suggests."""
        return decoded(trial.suggest_categorical(name, [encoded(value) for value in self.choices]))

    def samples(self) -> list[Any]:
        """Return all choices."""
        return list(self.choices)

    def has(self, value: Any) -> bool:
        """Return whether a value is one of the choices."""
        return value in self.choices

    def points(self, place: str) -> list[Any]:
        """Return all choices."""
        return list(self.choices)


@dataclass(frozen=True)
class Space:
    """The search space: the searched settings, in the order of their suggestions."""

    parameters: Mapping[str, NumberRange | Categorical]

    def __str__(self) -> str:
        return "; ".join(f"{name}, {parameter}" for name, parameter in self.parameters.items())

    @classmethod
    def parse(cls, node: Mapping[str, Any]) -> Space:
        """Return the search space of a YAML."""
        if not node:
            raise ConfigError(PLACE, "is empty", "name a setting, such as optimizer.lr: {low: 1e-4, high: 1e-2}")
        parameters: dict[str, NumberRange | Categorical] = {}
        for name, definition in node.items():
            if not _SETTING.fullmatch(str(name)) or names_code(str(name)):
                raise ConfigError(f"{PLACE}.{name}", "is no setting that can be searched")
            parameters[name] = _parse_parameter(definition, f"{PLACE}.{name}")
            _check_condition(parameters[name].when, parameters, name)
        return cls(parameters)

    def suggest(self, trial: optuna.Trial) -> Values:
        """Return a suggested value of each setting whose condition holds."""
        values: Values = {}
        for name, parameter in self.parameters.items():
            if _condition_holds(parameter.when, values):
                values[name] = parameter.suggest(trial, name)
        return values

    def grid(self) -> list[Values]:
        """Return each combination once."""
        axes = [parameter.points(f"{PLACE}.{name}") for name, parameter in self.parameters.items()]
        found: dict[str, Values] = {}
        for combination in itertools.product(*axes):
            values = self._without_unmet(dict(zip(self.parameters, combination, strict=True)))
            found.setdefault(json.dumps(values, sort_keys=True), values)
        return list(found.values())

    def probes(self) -> Iterator[Values]:
        """Yield test values of the space: the first value of each setting, then each setting changed in turn."""
        first = {name: parameter.samples()[0] for name, parameter in self.parameters.items()}
        yield self._without_unmet(first)
        for name, parameter in self.parameters.items():
            values = {**first, **{key: _as_list(value)[0] for key, value in (parameter.when or {}).items()}}
            for value in parameter.samples()[0 if parameter.when else 1 :]:
                yield self._without_unmet({**values, name: value})

    def _without_unmet(self, values: Values) -> Values:
        kept: Values = {}
        for name, parameter in self.parameters.items():
            if _condition_holds(parameter.when, kept):
                kept[name] = values[name]
        return kept


def encoded(value: Any) -> str | int | float | bool | None:
    """Return a value as Optuna stores it: lists and mappings as text."""
    return value if value is None or isinstance(value, str | int | float | bool) else f"json:{json.dumps(value)}"


def decoded(value: Any) -> Any:
    """Return what was encoded."""
    return json.loads(value[5:]) if isinstance(value, str) and value.startswith("json:") else value


def overrides(values: Mapping[str, Any]) -> list[str]:
    """Return values as overrides of `snnlab train`."""
    return [f"{name}={written(value)}" for name, value in values.items()]


def with_floats(node: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return the YAML of a search space with the ranges of some settings as floats."""
    return {name: {**range_, **_floats(range_)} if name in names else range_ for name, range_ in node.items()}


def _floats(range_: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(range_[key]) for key in ("low", "high", "step") if range_.get(key) is not None}


def _parse_parameter(definition: Any, place: str) -> NumberRange | Categorical:
    if isinstance(definition, list):
        definition = {"choices": definition}
    if not isinstance(definition, Mapping):
        raise ConfigError(place, f"expected {{low: ..., high: ...}} or {{choices: [...]}}, got {definition!r}")
    if "choices" in definition:
        check_settings(Categorical, definition, place, "a choice")
        if not definition["choices"]:
            raise ConfigError(f"{place}.choices", "is empty")
        return Categorical(**definition)
    if nested := [key for key, value in definition.items() if isinstance(value, Mapping) and key != "when"]:
        raise ConfigError(place, "a setting needs its full name", f"write {place}.{nested[0]}: {{low: ...}}")
    if {"min", "max"} & definition.keys():
        raise ConfigError(place, "a range takes low and high, not min and max")
    check_settings(NumberRange, definition, place, "a range")
    parameter = NumberRange(**definition)
    if not parameter.low < parameter.high:
        raise ConfigError(place, f"low must be less than high, got {parameter.low} and {parameter.high}")
    if parameter.log and parameter.low <= 0:
        raise ConfigError(place, f"with log, low must be above 0, got {parameter.low}")
    if parameter.step is not None and parameter.log:
        raise ConfigError(f"{place}.step", "cannot be combined with log")
    return parameter


def _check_condition(when: Mapping[str, Any] | None, parameters: Mapping[str, Any], name: str) -> None:
    earlier = [key for key in parameters if key != name]
    for key in when or {}:
        if key not in earlier:
            there = join_names(earlier) or "nothing"
            hint = did_you_mean(key, earlier)
            raise ConfigError(f"{PLACE}.{name}.when", f"{key} must be listed before it ({there})", hint)


def _condition_holds(when: Mapping[str, Any] | None, values: Mapping[str, Any]) -> bool:
    return all(key in values and values[key] in _as_list(wanted) for key, wanted in (when or {}).items())


def _as_list(wanted: Any) -> list[Any]:
    return list(wanted) if isinstance(wanted, list | tuple) else [wanted]
