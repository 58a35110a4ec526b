"""What a suite's YAML may say, checked with the place of a mistake."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

from snnlab.errors import ConfigError, RecordError, did_you_mean
from snnlab.experiments.space import names_code
from snnlab.experiments.suite_figures import check_published
from snnlab.experiments.suite_reading import energy_of
from snnlab.experiments.sweep_settings import PLACE as SWEEP, checked as checked_sweep
from snnlab.printable import holds_password, masked
from snnlab.settings import Count, at_least, check_settings

PLACE = "suite"
CONTROLS = ("shuffled_labels", "permuted_test_labels", "shuffled_time", "counts_only")
# What a suite decides itself, and what says so in its place.
_DECIDED = {
    "seed": "seeds=[0,1,2] names a suite's seeds",
    "control": "controls=[shuffled_labels] names them",
    "output_dir": "folder=FOLDER is where a suite goes",
    "test": "a suite tests each training",
    "mode": "a suite trains",
    "debug": "a suite has a folder of its own; trainer.max_epochs=1 makes it short",
    "resume": "the same command goes on",
}
# Seed of the trainings that tune: none of a suite's, or the seed of its own choice would be tested.
TUNE_SEED = 1000
_EXAMPLE = "{optimizer.lr: {low: 1e-4, high: 1e-2}}"
_NAME = re.compile(r"\w[\w.+-]*")


@dataclass(frozen=True)
class Arm:
    """A way to train.

    Args:
        overrides: Of `snnlab train`.
        role: `baseline` for what the arms are held against.
        note: A sentence for the table.
        datasets: On which of the suite's datasets it is trained; null: on all.
        tune: {space: ...} of its own; false: it is not tuned; null: as the suite says.
    """

    overrides: Sequence[str] = ()
    role: Literal["arm", "baseline"] = "arm"
    note: str | None = None
    datasets: Sequence[str] | None = None
    tune: Mapping[str, Any] | bool | None = None


@dataclass(frozen=True)
class Match:
    """In what arms are to be equal; one that is not is flagged, and stays.

    Args:
        by: `params`; `steps`: of a recording times epochs; `synops`: of a test recording; `wall_time`: of a training.
        within: How far from the first arm, as a part of it.
    """

    by: Literal["params", "steps", "synops", "wall_time"] = "params"
    within: Annotated[float, at_least(0)] = 0.1


@dataclass(frozen=True)
class Suite:
    """Arms, each trained on datasets with seeds.

    Args:
        arms: By name: {overrides, role, note, datasets, tune}, or the overrides alone.
        datasets: By name, the overrides that choose it.
        seeds: Of the trainings.
        common: Overrides that all trainings have.
        match: See `Match`; null: arms need be equal in nothing.
        tune: Settings of a sweep that each arm is given before it is trained, {trials: 10, space: {...}}; null: none.
        controls: Of each dataset's first arm and the first seed; see `CONTROLS`.
        published: Figures of others, shown beside these.
        energy: Constants of the energy estimate.
        engine: Where trainings run: `here`, in this process; `joblib`, in processes of this machine; `submitit`; `ray`.
        workers: Trainings at the same time.
        submitit: Parameters of submitit's executor.
        folder: Where the suite goes; null: outputs/suite_NAME.
    """

    arms: Mapping[str, Arm]
    datasets: Mapping[str, Sequence[str]]
    seeds: Annotated[Sequence[int], at_least(0)] = (0, 1, 2)
    common: Sequence[str] = ()
    match: Mapping[str, Any] | None = None
    tune: Mapping[str, Any] | None = None
    controls: Sequence[str] = ()
    published: Sequence[Mapping[str, Any]] = ()
    energy: Mapping[str, Any] | None = None
    engine: Literal["here", "joblib", "submitit", "ray"] = "joblib"
    workers: Count = 2
    submitit: Mapping[str, Any] | None = None
    folder: str | None = None

    @property
    def matched(self) -> Match | None:
        """In what arms are to be equal."""
        return None if self.match is None else Match(**self.match)

    @property
    def slots(self) -> int:
        """How many trainings run at the same time."""
        return 1 if self.engine == "here" else self.workers

    def runs(self, arm: str, dataset: str) -> bool:
        """Return whether an arm is trained on a dataset."""
        wanted = self.arms[arm].datasets
        return wanted is None or dataset in wanted

    def tuning(self, arm: str) -> Mapping[str, Any] | None:
        """Return the search that an arm is given, or None."""
        own = self.arms[arm].tune
        if self.tune is None or own is False:
            return None
        return {**self.tune, **own} if isinstance(own, Mapping) else self.tune

    @property
    def places(self) -> tuple[str, str, str]:
        """What the user calls the engine, submitit's parameters, and the engine of one process."""
        return "engine", "submitit", "here"


@dataclass(frozen=True)
class Choice:
    """Which parts of a suite are run this time; None: all."""

    arms: Sequence[str] | None = None
    datasets: Sequence[str] | None = None


def checked(values: Mapping[str, Any]) -> Suite:
    """Return a suite after all of it was checked.

    Raises:
        ConfigError: for the first mistake.
    """
    check_settings(Suite, values, PLACE, "a suite")
    suite = Suite(**values)
    for part in ("arms", "datasets", "seeds"):
        if not getattr(suite, part):
            raise ConfigError(f"{PLACE}.{part}", "is empty", "name at least one")
    arms = {str(name): _arm(str(name), node) for name, node in suite.arms.items()}
    datasets = {str(name): _dataset(str(name), node) for name, node in suite.datasets.items()}
    suite = replace(suite, arms=arms, datasets=datasets)
    check_overrides(suite.common, f"{PLACE}.common")
    for name, arm in arms.items():
        check_names(arm.datasets or (), datasets, f"{PLACE}.arms.{name}.datasets", "dataset")
    check_names(suite.controls, CONTROLS, f"{PLACE}.controls", "control")
    _check_seeds(suite.seeds)
    _check_match(suite.match)
    _check_shown(suite)
    for name in arms:
        _check_tuning(suite, name)
    return suite


def check_overrides(overrides: Sequence[str], place: str) -> None:
    """Refuse what is no override, and what a suite decides itself.

    Raises:
        ConfigError: for the first such text.
    """
    for text in overrides:
        key, equals, _ = text.lstrip("+").partition("=")
        if not equals and not key.startswith("~"):
            raise ConfigError(place, f"expected overrides such as model=conv_lif, got {text!r}")
        head = key.lstrip("~").partition(".")[0]
        if holds_password(text):
            raise ConfigError(masked(text), "is written into a folder", "write ${oc.env:NAME} for the password")
        if place.startswith(PLACE) and names_code(text) and head != "hydra":
            raise ConfigError(place, f"{text}: a suite's file names no code", "the command line can")
        if head in _DECIDED or head == "hydra":
            where = f"{place}: " if place.startswith(PLACE) else ""
            raise ConfigError(f"{where}{text}", _DECIDED.get(head, "a suite has its own folders"), "leave it out")


def check_names(names: Sequence[str], known: Sequence[str] | Mapping[str, Any], place: str, what: str) -> None:
    """Refuse a name that is not there.

    Raises:
        ConfigError: with the nearest one.
    """
    for name in names:
        if name not in known:
            raise ConfigError(place, f"there is no {what} '{name}'", did_you_mean(name, known), known)


_OF_ARM = tuple(one.name for one in fields(Arm))


def _arm(name: str, node: Any) -> Arm:
    place = f"{PLACE}.arms.{name}"
    _check_name(name, place)
    said: Any = {"overrides": node} if isinstance(node, list) else node
    if not isinstance(said, Mapping):
        raise ConfigError(place, "expected overrides, [neuron=lif], or {overrides: [...], note: ...}")
    if said and all(isinstance(value, str | int | float) for value in said.values()) and not set(said) & set(_OF_ARM):
        overrides = ", ".join(f"{key}={value}" for key, value in said.items())
        raise ConfigError(place, "an arm is a list of overrides", f"write {name}: [{overrides}]")
    check_settings(Arm, said, place, "an arm")
    arm = Arm(**said)
    check_overrides(arm.overrides, place)
    return arm


def _dataset(name: str, node: Any) -> Sequence[str]:
    place = f"{PLACE}.datasets.{name}"
    _check_name(name, place)
    if not isinstance(node, list) or not all(isinstance(text, str) for text in node):
        raise ConfigError(place, f"expected the overrides that choose it, such as [data={name}]")
    check_overrides(node, place)
    return node


def _check_name(name: str, place: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(place, "a name is a folder's too: letters, digits and _ . + - only")


def _check_seeds(seeds: Sequence[int]) -> None:
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"{PLACE}.seeds", f"expected different numbers, got {list(seeds)}")
    if TUNE_SEED in seeds:
        raise ConfigError(f"{PLACE}.seeds", f"{TUNE_SEED} is the seed that arms are tuned with", "take others")


def _check_match(node: Mapping[str, Any] | None) -> None:
    if node is not None:
        check_settings(Match, node, f"{PLACE}.match", "match")


def _check_shown(suite: Suite) -> None:
    """Check what only a table needs, before anything is trained."""
    try:
        energy_of(suite.energy, PLACE)
        check_published(suite.published, PLACE)
    except RecordError as error:
        raise ConfigError(error.place, error.message, error.hint, error.allowed) from error


def _check_tuning(suite: Suite, name: str) -> None:
    own = suite.arms[name].tune
    if isinstance(own, Mapping) and (other := sorted(set(own) - {"space"})):
        raise ConfigError(
            f"{PLACE}.arms.{name}.tune", f"{other[0]} is the same for all arms", "an arm has a space of its own"
        )
    node = suite.tuning(name)
    if node is None:
        return
    for key in ("engine", "workers", "submitit", "test_seeds"):
        if key in node:
            raise ConfigError(f"{PLACE}.tune.{key}", "is the suite's", "leave it out")
    if not node.get("space"):
        raise ConfigError(f"{PLACE}.tune.space", "is empty", f"it says what each arm is tuned in, {_EXAMPLE}")
    try:
        checked_sweep({"finalists": 0, **node, "test_seeds": 0})
    except ConfigError as error:
        raise error.moved(place=f"{PLACE}.tune{error.place.removeprefix(SWEEP)}") from error
