"""The settings of a suite: dataclasses, and the checks of a suite's YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

from snnlab.errors import ConfigError, RunFolderError, did_you_mean
from snnlab.experiments.space import names_code
from snnlab.experiments.suite_reading import GIVEN, energy_of
from snnlab.experiments.suite_statistics import check_published
from snnlab.experiments.sweep_settings import PLACE as SWEEP, parse_settings as checked_sweep
from snnlab.printable import holds_password, masked
from snnlab.spec.interval import Count, at_least
from snnlab.spec.nodes import load
from snnlab.spec.override_texts import key_of
from snnlab.spec.signatures import check_settings

PLACE = "suite"
# Settings that name the weights of a given network.
GIVEN_WEIGHTS = ("model.weights.file", "init_from")
CONTROLS = ("shuffled_labels", "permuted_test_labels", "shuffled_time", "counts_only")
# Settings that the suite controls, and what to use in their place.
_SET_BY_SUITE = {
    "seed": "seeds=[0,1,2] sets a suite's seeds",
    "control": "controls=[shuffled_labels] sets them",
    "output_dir": "folder=FOLDER sets a suite's folder",
    "test": "a suite tests each run",
    "mode": "a suite trains its runs",
    "debug": "a suite has its own folder; trainer.max_epochs=1 makes it short",
    "resume": "the same command continues it",
}
# Seed of the tuning trials. No suite may test it: a method would be tested on the seed that chose its settings.
TUNE_SEED = 1000
_EXAMPLE = "{optimizer.lr: {low: 1e-4, high: 1e-2}}"
_NAME = re.compile(r"\w[\w.+-]*")


@dataclass(frozen=True)
class Method:
    """A method: one way to train a network.

    Args:
        overrides: Overrides of `snnlab train`.
        role: `baseline` for a method that the others are compared with; `given`: the weights are those of
            `model.weights.file` or `init_from`, which is among the overrides. They are evaluated once, with the first
            seed, and shown apart from what is trained.
        note: A sentence for the table.
        datasets: The suite's datasets that it is trained on; null: all.
        tune: {space: ...} of this method; false: it is not tuned; null: the suite's `tune`.
    """

    overrides: Sequence[str] = ()
    role: Literal["method", "baseline", "given"] = "method"
    note: str | None = None
    datasets: Sequence[str] | None = None
    tune: Mapping[str, Any] | bool | None = None


@dataclass(frozen=True)
class Match:
    """The quantity that all methods should have in common; a method that deviates is flagged, not removed.

    Args:
        by: `params`; `steps`: steps of a recording times epochs; `synops`: of a test recording; `wall_time`: of a run.
        within: Allowed deviation from the first method, as a fraction.
    """

    by: Literal["params", "steps", "synops", "wall_time"] = "params"
    within: Annotated[float, at_least(0)] = 0.1


@dataclass(frozen=True)
class Suite:
    """A suite: methods that are trained on datasets with several seeds.

    Args:
        methods: The methods by name: {overrides, role, note, datasets, tune}, or only the overrides.
        datasets: The datasets by name, each with the overrides that select it.
        seeds: Seeds of the runs.
        common: Overrides of all runs.
        match: A quantity that all methods should have in common, {by: params, within: 0.1}; null: none.
        tune: Settings of a sweep that tunes each method before its runs, {trials: 10, space: {...}}; null: no tuning.
        controls: Controls for the first method of each dataset with the first seed; one of `CONTROLS` each.
        published: Published results of others, shown below these.
        energy: Constants of the energy estimate.
        engine: Where the runs are trained: `here`, in this process; `joblib`, in local processes; `submitit`; `ray`.
        workers: Number of runs at the same time.
        submitit: Parameters of submitit's executor.
        folder: The suite's folder; null: outputs/suite_NAME.
    """

    methods: Mapping[str, Method]
    datasets: Mapping[str, Sequence[str]]
    seeds: Annotated[Sequence[int], at_least(0)] = (0, 1, 2)
    common: Sequence[str] = ()
    match: Match | None = None
    tune: Mapping[str, Any] | None = None
    controls: Sequence[str] = ()
    published: Sequence[Mapping[str, Any]] = ()
    energy: Mapping[str, Any] | None = None
    engine: Literal["here", "joblib", "submitit", "ray"] = "joblib"
    workers: Count = 2
    submitit: Mapping[str, Any] | None = None
    folder: str | None = None

    @property
    def slots(self) -> int:
        """Number of runs at the same time."""
        return 1 if self.engine == "here" else self.workers

    def trains(self, method: str, dataset: str) -> bool:
        """Return whether a method is trained on a dataset."""
        wanted = self.methods[method].datasets
        return wanted is None or dataset in wanted

    def seeds_of(self, method: str) -> Sequence[int]:
        """Return the seeds of a method: given weights depend on none, so they are evaluated with the first."""
        return self.seeds[:1] if self.methods[method].role == GIVEN else self.seeds

    def first_method(self, dataset: str) -> str | None:
        """Return the first trained method of a dataset: the reference of its controls and of `match`."""
        methods = [name for name in self.methods if self.trains(name, dataset) and self.methods[name].role != GIVEN]
        return next((name for name in methods if self.methods[name].role == "method"), methods[0] if methods else None)

    def tuning_settings(self, method: str) -> Mapping[str, Any] | None:
        """Return the settings of the search that tunes a method, or None."""
        own = self.methods[method].tune
        if self.tune is None or own is False or self.methods[method].role == GIVEN:
            return None
        return {**self.tune, **own} if isinstance(own, Mapping) else self.tune

    @property
    def setting_names(self) -> tuple[str, str, str]:
        """The names that messages use: of the engine's setting, of submitit's, and of the engine without processes."""
        return "engine", "submitit", "here"


@dataclass(frozen=True)
class SuiteSelection:
    """The methods and datasets of a suite that a command runs; None: all."""

    methods: Sequence[str] | None = None
    datasets: Sequence[str] | None = None


def parse_settings(values: Mapping[str, Any]) -> Suite:
    """Return the checked suite."""
    suite = load(Suite, values, PLACE, "a suite")
    for part in ("methods", "datasets", "seeds"):
        if not getattr(suite, part):
            raise ConfigError(f"{PLACE}.{part}", "is empty", "name at least one")
    methods = {str(name): _parse_method(str(name), node) for name, node in suite.methods.items()}
    datasets = {str(name): _parse_dataset(str(name), node) for name, node in suite.datasets.items()}
    suite = replace(suite, methods=methods, datasets=datasets)
    check_overrides(suite.common, f"{PLACE}.common")
    for name, method in methods.items():
        check_names(method.datasets or (), datasets, f"{PLACE}.methods.{name}.datasets", "dataset")
    check_names(suite.controls, CONTROLS, f"{PLACE}.controls", "control")
    _check_seeds(suite.seeds)
    _check_table_settings(suite)
    for name in methods:
        _check_tuning(suite, name)
    return suite


def check_overrides(overrides: Sequence[str], place: str) -> None:
    """Refuse texts that are no overrides, and settings that the suite controls."""
    for text in overrides:
        key, equals, _ = text.lstrip("+").partition("=")
        if not equals and not key.startswith("~"):
            raise ConfigError(place, f"expected overrides such as model=conv_lif, got {text!r}")
        head = key.lstrip("~").partition(".")[0]
        if holds_password(text):
            raise ConfigError(masked(text), "is written into a folder", "write ${oc.env:NAME} for the password")
        if place.startswith(PLACE) and names_code(text) and head != "hydra":
            raise ConfigError(place, f"{text}: a suite's file must not name code", "the command line can")
        if head in _SET_BY_SUITE or head == "hydra":
            where = f"{place}: " if place.startswith(PLACE) else ""
            raise ConfigError(f"{where}{text}", _SET_BY_SUITE.get(head, "a suite has its own folders"), "leave it out")


def check_names(names: Sequence[str], known: Sequence[str] | Mapping[str, Any], place: str, what: str) -> None:
    """Refuse unknown names."""
    for name in names:
        if name not in known:
            raise ConfigError(place, f"there is no {what} '{name}'", did_you_mean(name, known), known)


_METHOD_FIELDS = tuple(one.name for one in fields(Method))


def _parse_method(name: str, node: Any) -> Method:
    place = f"{PLACE}.methods.{name}"
    _check_name(name, place)
    settings: Any = {"overrides": node} if isinstance(node, list) else node
    if not isinstance(settings, Mapping):
        raise ConfigError(place, "expected overrides, [neuron=lif], or {overrides: [...], note: ...}")
    if (
        settings
        and all(isinstance(value, str | int | float) for value in settings.values())
        and not set(settings) & set(_METHOD_FIELDS)
    ):
        overrides = ", ".join(f"{key}={value}" for key, value in settings.items())
        raise ConfigError(place, "a method is a list of overrides", f"write {name}: [{overrides}]")
    check_settings(Method, settings, place, "a method")
    method = Method(**settings)
    check_overrides(method.overrides, place)
    if method.role == GIVEN and not {key_of(text) for text in method.overrides} & set(GIVEN_WEIGHTS):
        fix = f"add {GIVEN_WEIGHTS[0]}=FILE or {GIVEN_WEIGHTS[1]}=RUN to its overrides"
        raise ConfigError(f"{place}.role", "given needs the weights", fix)
    return method


def _parse_dataset(name: str, node: Any) -> Sequence[str]:
    place = f"{PLACE}.datasets.{name}"
    _check_name(name, place)
    if not isinstance(node, list) or not all(isinstance(text, str) for text in node):
        raise ConfigError(place, f"expected the overrides that select it, such as [data={name}]")
    check_overrides(node, place)
    return node


def _check_name(name: str, place: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(place, "a name is also a folder's name: letters, digits and _ . + - only")


def _check_seeds(seeds: Sequence[int]) -> None:
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"{PLACE}.seeds", f"expected different numbers, got {list(seeds)}")
    if TUNE_SEED in seeds:
        raise ConfigError(f"{PLACE}.seeds", f"{TUNE_SEED} is the seed of tuning", "use other seeds")


def _check_table_settings(suite: Suite) -> None:
    """Check the settings that only the table needs, so that an error ends the command before any run."""
    try:
        energy_of(suite.energy, PLACE)
        check_published(suite.published, PLACE)
        for node in suite.published:
            check_names(node.get("methods") or [], suite.methods, f"{PLACE}.published", "method")
    except RunFolderError as error:
        raise ConfigError(error.place, error.message, error.hint, error.allowed) from error


def _check_tuning(suite: Suite, name: str) -> None:
    own = suite.methods[name].tune
    if isinstance(own, Mapping) and (other := sorted(set(own) - {"space"})):
        raise ConfigError(
            f"{PLACE}.methods.{name}.tune", f"{other[0]} is the same for all methods", "a method sets only space"
        )
    node = suite.tuning_settings(name)
    if node is None:
        return
    for key in ("engine", "workers", "submitit", "test_seeds"):
        if key in node:
            raise ConfigError(f"{PLACE}.tune.{key}", "is set by the suite", "leave it out")
    if not node.get("space"):
        raise ConfigError(f"{PLACE}.tune.space", "is empty", f"it names the settings to tune, {_EXAMPLE}")
    try:
        checked_sweep({"finalists": 0, **node, "test_seeds": 0})
    except ConfigError as error:
        raise error.with_fields(place=f"{PLACE}.tune{error.place.removeprefix(SWEEP)}") from error
