"""The plan of a suite: the runs of methods on datasets with seeds, and their controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snnlab.errors import SnnlabError
from snnlab.experiments.search_plan import QUIET_OVERRIDES
from snnlab.experiments.space import Values, overrides
from snnlab.experiments.suite_reading import relative_run_folder
from snnlab.experiments.suite_settings import TUNE_SEED, Choice, Suite
from snnlab.experiments.workers import Task
from snnlab.settings import key_of


@dataclass(frozen=True)
class Cell:
    """One planned run of a suite.

    Attributes:
        control: The control that changes labels or time on purpose, or None.
    """

    dataset: str
    arm: str
    seed: int
    control: str | None = None

    @property
    def folder(self) -> str:
        """The run's folder, relative to the suite's folder."""
        if self.control is None:
            return relative_run_folder(self.dataset, self.arm, self.seed)
        return f"controls/{self.control}/{self.dataset}/{self.arm}/{self.seed}"

    @property
    def twin(self) -> Cell:
        """The reference run: the same run without a control."""
        return Cell(self.dataset, self.arm, self.seed)

    def __str__(self) -> str:
        what = f"{self.control} of {self.arm}" if self.control else self.arm
        return f"{what} on {self.dataset}, seed {self.seed}"


@dataclass(frozen=True)
class Survey:
    """The result of the preflight of a dataset: its recordings, checked before any run.

    Attributes:
        mistake: An error in the settings, or None.
        gap: The reason why there are no recordings, or None.
        duplicates: One line on recordings that are in several parts of the split.
        apart: Whether no tested recording is also used for training or validation, as far as known.
        gpus: Number of GPUs that the runs can share.
    """

    mistake: SnnlabError | None = None
    gap: SnnlabError | None = None
    duplicates: str | None = None
    apart: bool = True
    gpus: int = 0


# Settings that apply only to datasets of files.
OF_FILES = ("data.root", "data.download")


@dataclass(frozen=True)
class Work:
    """Functions that a suite needs: module-level, so that they can be pickled and sent to workers.

    Attributes:
        survey: Finds and packs a dataset's recordings; of several lists of overrides it uses the first valid one.
        merge: Drops overrides that a later one replaces.
    """

    survey: Callable[[Sequence[Sequence[str]], str | None, str], Survey]
    merge: Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True)
class Plan:
    """A suite, its folder and the command that started it.

    Attributes:
        suite: The suite, united with the content of its folder.
        typed: Overrides from the command line.
        config_dir: The user's folder of YAML files.
        simulated: Datasets that read no files; settings of `OF_FILES` do not apply to them.
    """

    folder: Path
    name: str
    suite: Suite
    typed: Sequence[str]
    config_dir: str | None
    place: str
    command: str
    simulated: frozenset[str] = frozenset()

    @property
    def common(self) -> list[str]:
        """Overrides of all runs; a method's own overrides come after them."""
        return [*self.suite.common, *self.typed]

    def cells(self, selection: Choice | None = None, seeds: Sequence[int] | None = None) -> list[Cell]:
        """Return the planned runs, first seeds first, so that methods can be compared early; controls come last.

        Args:
            selection: The selected methods and datasets; None: all.
            seeds: The selected seeds; None: all.
        """
        arms, datasets = _selected_names(self.suite, selection)
        wanted = self.suite.seeds if seeds is None else seeds
        cells = [Cell(d, a, s) for s in wanted for d in datasets for a in arms if self.suite.trains(a, d)]
        return cells + [
            Cell(dataset, first, self.suite.seeds[0], control)
            for dataset in datasets
            if (first := self.first_method(dataset)) in arms and self.suite.seeds[0] in wanted
            for control in self.suite.controls
        ]

    def first_method(self, dataset: str) -> str | None:
        """Return the first method of a dataset: the reference of its controls and of `match`."""
        arms = [name for name in self.suite.arms if self.suite.trains(name, dataset)]
        return next((name for name in arms if self.suite.arms[name].role == "arm"), arms[0] if arms else None)

    def arm_overrides(self, dataset: str, arm: str) -> list[str]:
        """Return the overrides of a method on a dataset, without the seed and the tuned values."""
        dropped = OF_FILES if dataset in self.simulated else ()
        common = [text for text in self.common if key_of(text) not in dropped]
        return [*self.suite.datasets[dataset], *common, *self.suite.arms[arm].overrides]

    def task(self, spec: Cell, values: Values, threads: int, merge: Callable[[Sequence[str]], list[str]]) -> Task:
        """Return the task of a run.

        Args:
            values: Values that tuning has found.
            threads: Number of CPU threads, unless the user has set it.
            merge: Drops overrides that a later one replaces.
        """
        own = [f"seed={spec.seed}", "test=true", *([f"control={spec.control}"] if spec.control else [])]
        texts = [
            *QUIET_OVERRIDES,
            f"threads={threads}",
            *self.arm_overrides(spec.dataset, spec.arm),
            *overrides(values),
            *own,
        ]
        return Task(str(self.folder / spec.folder), merge(texts), self.config_dir, self.place)

    def tuning_overrides(self, dataset: str, arm: str, merge: Callable[[Sequence[str]], list[str]]) -> list[str]:
        """Return the overrides that all trials of a method's tuning have in common."""
        return merge([*self.arm_overrides(dataset, arm), f"seed={TUNE_SEED}"])

    def as_page(self) -> dict[str, Any]:
        """Return the content of `suite.yaml`, without its schema."""
        suite = self.suite
        return {
            "name": self.name,
            "arms": {name: {**vars(arm), "overrides": list(arm.overrides)} for name, arm in suite.arms.items()},
            "datasets": {name: list(texts) for name, texts in suite.datasets.items()},
            "seeds": list(suite.seeds),
            "common": self.common,
            "match": vars(suite.match_rule) if suite.match_rule else None,
            "tune": suite.tune,
            "controls": list(suite.controls),
            "published": list(suite.published),
            "energy": suite.energy,
            "command": self.command,
        }


def _selected_names(suite: Suite, selection: Choice | None) -> tuple[list[str], list[str]]:
    arms = selection.arms if selection and selection.arms is not None else suite.arms
    datasets = selection.datasets if selection and selection.datasets is not None else suite.datasets
    return [name for name in suite.arms if name in arms], [name for name in suite.datasets if name in datasets]


def own_keys(suite: Suite, selection: Choice) -> Mapping[str, list[str]]:
    """Return the settings that methods set themselves, each with the names of those methods."""
    found: dict[str, list[str]] = {}
    for name in _selected_names(suite, selection)[0]:
        for text in suite.arms[name].overrides:
            found.setdefault(key_of(text), []).append(name)
    return found
