"""The plan of a suite: the runs of methods on datasets with seeds, and their controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snnlab.errors import SnnlabError
from snnlab.experiments.search_plan import QUIET_OVERRIDES
from snnlab.experiments.space import Values, overrides
from snnlab.experiments.suite_reading import GIVEN, relative_run_folder
from snnlab.experiments.suite_settings import TUNE_SEED, Suite, SuiteSelection
from snnlab.experiments.workers import RunTask
from snnlab.spec.override_texts import key_of


@dataclass(frozen=True)
class RunSpec:
    """One planned run of a suite.

    Attributes:
        control: The control that changes labels or time on purpose, or None.
    """

    dataset: str
    method: str
    seed: int
    control: str | None = None

    @property
    def folder(self) -> str:
        """The run's folder, relative to the suite's folder."""
        if self.control is None:
            return relative_run_folder(self.dataset, self.method, self.seed)
        return f"controls/{self.control}/{self.dataset}/{self.method}/{self.seed}"

    @property
    def reference(self) -> RunSpec:
        """The reference run: the same run without a control."""
        return RunSpec(self.dataset, self.method, self.seed)

    def __str__(self) -> str:
        what = f"{self.control} of {self.method}" if self.control else self.method
        return f"{what} on {self.dataset}, seed {self.seed}"


@dataclass(frozen=True)
class PreflightResult:
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
FILE_SETTINGS = ("data.root", "data.download")


@dataclass(frozen=True)
class SuiteFunctions:
    """Functions that a suite needs: module-level, so that they can be pickled and sent to workers.

    Attributes:
        preflight: Finds and packs a dataset's recordings; of several lists of overrides it uses the first valid one.
        merge: Drops overrides that a later one replaces.
    """

    preflight: Callable[[Sequence[Sequence[str]], str | None, str], PreflightResult]
    merge: Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True)
class SuitePlan:
    """A suite, its folder and the command that started it.

    Attributes:
        suite: The suite, united with the content of its folder.
        typed: Overrides from the command line.
        config_dir: The user's folder of YAML files.
        simulated: Datasets that read no files; settings of `FILE_SETTINGS` do not apply to them.
    """

    folder: Path
    name: str
    suite: Suite
    typed: Sequence[str]
    config_dir: str | None
    working_folder: str
    command: str
    simulated: frozenset[str] = frozenset()

    @property
    def common(self) -> list[str]:
        """Overrides of all runs; a method's own overrides come after them."""
        return [*self.suite.common, *self.typed]

    def run_specs(self, selection: SuiteSelection | None = None, seeds: Sequence[int] | None = None) -> list[RunSpec]:
        """Return the planned runs, first seeds first, so that methods can be compared early; controls come last.

        Args:
            selection: The selected methods and datasets; None: all.
            seeds: The selected seeds; None: all.
        """
        methods, datasets = _selected_names(self.suite, selection)
        wanted = self.suite.seeds if seeds is None else seeds
        run_specs = [
            RunSpec(dataset, method, seed)
            for seed in wanted
            for dataset in datasets
            for method in methods
            if self.suite.trains(method, dataset) and (seed in self.suite.seeds_of(method))
        ]
        return run_specs + [
            RunSpec(dataset, first, self.suite.seeds[0], control)
            for dataset in datasets
            if (first := self.suite.first_method(dataset)) in methods and self.suite.seeds[0] in wanted
            for control in self.suite.controls
        ]

    def method_overrides(self, dataset: str, method: str) -> list[str]:
        """Return the overrides of a method on a dataset, without the seed and the tuned values."""
        dropped = FILE_SETTINGS if dataset in self.simulated else ()
        common = [text for text in self.common if key_of(text) not in dropped]
        own = self.suite.methods[method]
        untrained = ["trainer.max_epochs=0"] if own.role == GIVEN else []
        return [*self.suite.datasets[dataset], *common, *own.overrides, *untrained]

    def task(self, spec: RunSpec, values: Values, threads: int, merge: Callable[[Sequence[str]], list[str]]) -> RunTask:
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
            *self.method_overrides(spec.dataset, spec.method),
            *overrides(values),
            *own,
        ]
        return RunTask(str(self.folder / spec.folder), merge(texts), self.config_dir, self.working_folder)

    def tuning_overrides(self, dataset: str, method: str, merge: Callable[[Sequence[str]], list[str]]) -> list[str]:
        """Return the overrides that all trials of a method's tuning have in common."""
        return merge([*self.method_overrides(dataset, method), f"seed={TUNE_SEED}"])

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `suite.yaml`, without its schema."""
        suite = self.suite
        return {
            "name": self.name,
            "methods": {
                name: {**vars(method), "overrides": list(method.overrides)} for name, method in suite.methods.items()
            },
            "datasets": {name: list(texts) for name, texts in suite.datasets.items()},
            "seeds": list(suite.seeds),
            "common": self.common,
            "match": vars(suite.match) if suite.match else None,
            "tune": suite.tune,
            "controls": list(suite.controls),
            "published": list(suite.published),
            "energy": suite.energy,
            "command": self.command,
        }


def _selected_names(suite: Suite, selection: SuiteSelection | None) -> tuple[list[str], list[str]]:
    """Return the names of the selected methods and datasets, in the order of the suite."""
    methods = selection.methods if selection and selection.methods is not None else suite.methods
    datasets = selection.datasets if selection and selection.datasets is not None else suite.datasets
    return [name for name in suite.methods if name in methods], [name for name in suite.datasets if name in datasets]


def keys_set_by_methods(suite: Suite, selection: SuiteSelection) -> Mapping[str, list[str]]:
    """Return the settings that methods set themselves, each with the names of those methods."""
    found: dict[str, list[str]] = {}
    for name in _selected_names(suite, selection)[0]:
        for text in suite.methods[name].overrides:
            found.setdefault(key_of(text), []).append(name)
    return found
