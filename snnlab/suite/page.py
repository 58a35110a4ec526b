"""`suite.yaml`: what a suite is, and whether a command goes on with the same one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from snnlab.errors import ConfigError, RecordError
from snnlab.files import unwritable, write_text
from snnlab.printable import cleaned
from snnlab.record.suite.reading import SUITE_PAGE, SUITE_SCHEMA
from snnlab.settings import key_of
from snnlab.suite.plan import Plan
from snnlab.suite.settings import Arm, Choice, Suite
from snnlab.yaml_files import require_bounded


def read_page(folder: Path) -> Mapping[str, Any] | None:
    """Return what a suite's `suite.yaml` holds; None where there is none.

    Raises:
        RecordError: if it cannot be read, or is of another version.
    """
    path = folder / SUITE_PAGE
    if not path.is_file():
        return None
    try:
        require_bounded(path)
        page = cleaned(OmegaConf.to_container(OmegaConf.load(path), resolve=False))
    except (OSError, ValueError) as error:
        raise RecordError(path, f"cannot be read ({error})") from error
    if not isinstance(page, Mapping) or page.get("schema") != SUITE_SCHEMA:
        raise RecordError(path, "was not written by this version of snnlab", "folder=FOLDER begins another")
    return {str(key): value for key, value in page.items()}


def is_begun(folder: Path) -> bool:
    """Return whether something was trained in a suite's folder; before that, its settings may still change."""
    return any(any((folder / part).rglob("config.yaml")) for part in ("runs", "controls")) or (folder / "tune").exists()


def make_folder(folder: Path) -> None:
    """Make a suite's folder, where it is not there.

    Raises:
        RecordError: if it cannot be made, or is a run's or a search's.
    """
    for path in (folder, *folder.parents):
        if (path / "checkpoints").is_dir() and (path / "config.yaml").is_file():
            raise RecordError("folder", f"{path} is the folder of a run", "name another one for the suite")
    if (folder / "sweep.yaml").is_file():
        raise RecordError("folder", f"{folder} is the folder of a search", "name another one for the suite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error, "folder") from error


def write_page(plan: Plan) -> None:
    """Write `suite.yaml`.

    Raises:
        RecordError: if the folder cannot be written.
    """
    try:
        write_text(
            plan.folder / SUITE_PAGE, OmegaConf.to_yaml(OmegaConf.create({"schema": SUITE_SCHEMA, **plan.as_page()}))
        )
    except OSError as error:
        raise unwritable(plan.folder, error, "folder") from error


def united(suite: Suite, choice: Choice, page: Mapping[str, Any] | None) -> Suite:
    """Return a suite of what is chosen now and what its folder holds already.

    Args:
        choice: Which parts of it are run.
        page: What the folder's `suite.yaml` holds.
    """
    before: Mapping[str, Any] = page or {"arms": {}, "datasets": {}, "seeds": []}
    arms = {
        name: suite.arms[name] if name in suite.arms else Arm(**before["arms"][name])
        for name in [*suite.arms, *before["arms"]]
        if name in before["arms"] or choice.arms is None or name in choice.arms
    }
    datasets = {
        name: suite.datasets[name] if name in suite.datasets else before["datasets"][name]
        for name in [*suite.datasets, *before["datasets"]]
        if name in before["datasets"] or choice.datasets is None or name in choice.datasets
    }
    seeds = list(dict.fromkeys([*before["seeds"], *suite.seeds]))
    return replace(suite, arms=arms, datasets=datasets, seeds=seeds)


def require_same(plan: Plan, page: Mapping[str, Any], free: Collection[str]) -> None:
    """Refuse to go on with trainings of other settings than those in the folder.

    Args:
        page: What the folder's `suite.yaml` holds.
        free: Settings that may differ: where recordings are, and the like.

    Raises:
        ConfigError: naming the first difference.
    """
    now = plan.as_page()
    for name, arm in now["arms"].items():
        old = page["arms"].get(name)
        if old is not None:
            _require(plan, f"arms.{name}", old["overrides"], arm["overrides"], free)
            _require(plan, f"arms.{name}.tune", [str(old.get("tune"))], [str(arm["tune"])], free)
    for name, overrides in now["datasets"].items():
        if name in page["datasets"]:
            _require(plan, f"datasets.{name}", page["datasets"][name], overrides, free)
    _require(plan, "common", page["common"], now["common"], free)
    _require(plan, "tune", [str(page["tune"])], [str(_plain(now["tune"]))], free)


def _require(plan: Plan, place: str, old: Sequence[str], new: Sequence[str], free: Collection[str]) -> None:
    one, other = ([text for text in texts if key_of(text) not in free] for texts in (old, new))
    if one != other:
        differs = [text for text in [*one, *other] if text not in one or text not in other] or other
        raise ConfigError(
            plan.folder, f"was begun with other settings ({place}: {differs[0]})", "folder=FOLDER begins another suite"
        )


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(OmegaConf.create(dict(node))) if isinstance(node, Mapping) else node
