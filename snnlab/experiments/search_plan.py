"""The plan of a search, as its folder records it: its settings, and the overrides that all trials have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from shlex import quote
from typing import Any

from omegaconf import OmegaConf

from snnlab.errors import ConfigError, RunFolderError, SnnlabError
from snnlab.experiments.space import PLACE as SPACE, Space, Values, overrides
from snnlab.experiments.sweep_settings import FIXED, Sweep, parse_settings
from snnlab.experiments.workers import RunTask, TrialAddress
from snnlab.files import unwritable, write_text
from snnlab.printable import holds_password, masked, without_passwords
from snnlab.runs.recorded import reading_record
from snnlab.runs.run_folder import CONFIG
from snnlab.runs.signature import sign
from snnlab.runs.tables import format_settings
from snnlab.spec.override_texts import key_of
from snnlab.yaml_files import read_yaml

SCHEMA = 1
FILE = "sweep.yaml"
# As text, not imported: the module imports Lightning, which the process that distributes trials does not need.
_PRUNING = "+callbacks.pruning={_target_: snnlab.experiments.pruning.Pruning}"
# Overrides of all trials, unless the user sets them: nothing is drawn while hundreds of runs are trained.
QUIET_OVERRIDES = ("logger=none", "plots=null", "trainer.enable_progress_bar=false")


@dataclass(frozen=True)
class SearchPlan:
    """A search, its folder and the overrides of its trials.

    Attributes:
        common: Overrides of all trials.
        config_dir: The user's folder of YAML files.
        seed: The seed of the trials.
    """

    folder: Path
    name: str
    sweep: Sweep
    space: Space
    common: Sequence[str]
    config_dir: str | None
    seed: int
    working_folder: str

    def trial_overrides(self, values: Values) -> list[str]:
        """Return the overrides of a trial, without those that the search adds."""
        self.require_searched(values)
        return [*self.common, *overrides(values)]

    def require_searched(self, values: Values) -> None:
        """Raise for settings that are not searched: the study may be of another search."""
        if other := [name for name in values if name not in self.space.parameters]:
            raise RunFolderError(self.folder, f"its study has trials with {other[0]}, which is not searched")

    def task(
        self, folder: str, values: Values, threads: int, seed: int | None = None, *, test: bool = False
    ) -> RunTask:
        """Return the task of a run.

        Args:
            folder: Its folder, relative to the sweep's folder.
            threads: Number of CPU threads, unless the user has set it.
        """
        set_keys = {key_of(text) for text in self.common}
        quiet = [text for text in QUIET_OVERRIDES if key_of(text) not in set_keys]
        shared = [] if "threads" in set_keys else [f"threads={threads}"]
        seeds = [] if seed is None else [f"seed={seed}"]
        common = [text for text in self.common if seed is None or key_of(text) != "seed"]
        tested = f"test={str(test).lower()}"
        self.require_searched(values)
        texts = [*quiet, *shared, *common, *overrides(values), *seeds, tested]
        return RunTask(str(self.folder / folder), texts, self.config_dir, self.working_folder)

    def with_pruning(self, task: RunTask, number: int, study: Path) -> RunTask:
        """Return the task of a trial that may be pruned.

        Args:
            study: The file of the study.
        """
        if self.sweep.prune is None:
            return task
        (metric,) = self.sweep.objectives
        address = TrialAddress(str(study), self.folder.name, number, metric, vars(self.sweep.prune))
        return RunTask(task.folder, [*task.overrides, _PRUNING], task.config_dir, task.working_folder, address)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `sweep.yaml`, without passwords."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "seed": self.seed,
            "overrides": list(self.common),
            "config_dir": self.config_dir,
            "place": self.working_folder,
            "sweep": asdict(self.sweep),
        }

    def write(self) -> None:
        """Write `sweep.yaml`, and sign it."""
        text = OmegaConf.to_yaml(OmegaConf.create(self.to_dict()))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            sign(self.folder, FILE, text)
            write_text(self.folder / FILE, text)
        except OSError as error:
            raise unwritable(self.folder, error) from error


def read_sweep_yaml(folder: Path) -> Mapping[str, Any]:
    """Return the content of a search's `sweep.yaml`.

    Raises:
        RunFolderError: if the folder is no search's, or of another version.
    """
    path = folder / FILE
    if not path.is_file():
        run = (folder / CONFIG).is_file()
        other = f"; it is a run's folder: snnlab train resume={folder}" if run else ""
        raise RunFolderError(folder, f"is not a sweep's folder: it has no {FILE}{other}")
    hint = f"restore it from a copy; its trials' runs are there: snnlab runs list {quote(str(folder))}/trials"
    with reading_record(path, hint):
        content = without_passwords(read_yaml(path))
        if content["schema"] != SCHEMA:
            raise RunFolderError(path, "was not written by this version of snnlab")
        return {
            "name": str(content["name"]),
            "seed": int(content["seed"]),
            "overrides": list(content["overrides"]),
            "config_dir": content["config_dir"],
            "place": str(content["place"]),
            "sweep": {**content["sweep"], **{key: dict(content["sweep"][key]) for key in ("space", "objectives")}},
        }


def read_plan(folder: Path, settings: Mapping[str, Any]) -> SearchPlan:
    """Return the search of a folder.

    Args:
        settings: Its settings, with those that are new from now on.
    """
    content = read_sweep_yaml(folder)
    sweep, space = parse_settings(settings)
    # If the working folder was moved, use the current one.
    working_folder = content["place"] if Path(content["place"]).is_dir() else str(Path.cwd())
    common, config_dir = content["overrides"], content["config_dir"]
    return SearchPlan(
        folder.absolute(), content["name"], sweep, space, common, config_dir, content["seed"], working_folder
    )


def first_difference(plan: SearchPlan, content: Mapping[str, Any]) -> str | None:
    """Return the first setting in which a search differs from a recorded `sweep.yaml`, or None."""
    now = _as_read_back(plan.to_dict())
    if now["overrides"] != content.get("overrides"):
        return "overrides"
    if now["seed"] != content.get("seed"):
        return "seed"
    recorded = content.get("sweep")
    known = recorded if isinstance(recorded, Mapping) else {}
    return next((f"sweep.{name}" for name in FIXED if now["sweep"][name] != known.get(name)), None)


def command_arguments(content: Mapping[str, Any]) -> list[str]:
    """Return the command-line words that start the search of a `sweep.yaml`, quoted for the shell."""
    usual = {one.name: one.default for one in fields(Sweep)}
    settings = {name: value for name, value in (content.get("sweep") or {}).items() if value != usual.get(name)}
    arguments = [
        *map(str, content.get("overrides") or ()),
        *overrides({f"sweep.{name}": v for name, v in settings.items()}),
    ]
    return [quote(word) for word in arguments] + (["--config-dir DIR"] if content.get("config_dir") else [])


def _as_read_back(content: Mapping[str, Any]) -> Any:
    """Return a page as it would be read back from its file."""
    return OmegaConf.to_container(OmegaConf.create(dict(content)), resolve=False)


def tried_error(error: SnnlabError, values: Values) -> SnnlabError:
    """Return an error of an experiment with the values of the space that it was tried with."""
    return error.with_fields(message=f"{error.message} (tried with {format_settings(values)}, of {SPACE})")


def check_full_names(space: Space, settings: Mapping[str, Any]) -> None:
    """Refuse the last part of a setting's name where its full name is required.

    Args:
        settings: The experiment's settings, by full names.
    """
    for name in space.parameters:
        if "." not in name and name not in {key.partition(".")[0] for key in settings}:
            meant = [key for key in settings if key.endswith(f".{name}")]
            if meant:
                raise ConfigError(f"{SPACE}.{name}", f"there is no such setting. Did you mean '{meant[0]}'?")


def check_common_overrides(common: Sequence[str], space: Space) -> None:
    """Refuse overrides that the search controls."""
    if "seed" in space.parameters:
        raise ConfigError("sweep.space.seed", "a seed cannot be searched", "finalists are compared over several seeds")
    for text in common:
        key = key_of(text)
        if holds_password(text):
            raise ConfigError(masked(text), "is written into a folder", "write ${oc.env:NAME} for the password")
        if key in space.parameters:
            raise ConfigError(text, f"is searched, by sweep.space.{key}", "remove one of them")
        if key in ("test", "mode", "debug"):
            raise ConfigError(text, "a search trains its trials, and tests only its winner", "remove it")
        if key.startswith("hydra."):
            raise ConfigError(text, "a sweep has its own folder", "set output_dir")
