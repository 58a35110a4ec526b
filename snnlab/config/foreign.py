"""What a recorded run may use of this machine where it is not as its user's own snnlab left it here.

A run that somebody else recorded, or that was copied, moved or edited, says what its network is, and no more: where
recordings are, what is fetched, what is written outside of it, and which code it needs, its user names again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePath
from shlex import quote
from typing import Any, Literal, NamedTuple

import yaml

from snnlab.config.folders import config_folder
from snnlab.config.plugins import naming
from snnlab.config.references import outside, texts
from snnlab.errors import ConfigError
from snnlab.masking import is_masked
from snnlab.search.space import written

# What a command does with a run: it shows what was recorded; shows the network too; runs it; reads recordings; trains.
Use = Literal["record", "shape", "network", "data", "training"]

# Loggers and callbacks that write into the run's folder alone, as long as they are told nothing but numbers.
_LOCAL = {
    "lightning.pytorch.loggers.TensorBoardLogger",
    "snnlab.record.tensorboard.TensorBoard",
    "snnlab.record.steps_csv.StepsCSV",
    "lightning.pytorch.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.LearningRateMonitor",
    "lightning.pytorch.callbacks.Timer",
}
# It keeps a database in `output_dir`; nothing else of a run that goes on is written there.
_DATABASE = "lightning.pytorch.loggers.MLFlowLogger"
_WORDS = {"_target_", "monitor", "mode", "logging_interval", "interval"}
# What overrides take without quotes.
_PATH = re.compile(r"[A-Za-z_./][\w./:@%+-]*")
# Of Lightning's trainer, what writes elsewhere or sends something.
_ELSEWHERE = ("default_root_dir", "model_registry")


class Typed(NamedTuple):
    """What the user's own words set on top of a run.

    Attributes:
        settings: Settings that have a value.
        whole: Groups of which a file was chosen, and what was set null or dropped.
    """

    settings: Collection[str]
    whole: Collection[str]

    @classmethod
    def of(cls, values: Mapping[str, Any], groups: Collection[str]) -> Typed:
        """Return it of the values of overrides by key; a mapping sets what it holds, and no more."""
        settings = {place for key, value in values.items() for place in _leaves(value, key)}
        return cls(settings, {*groups, *(key for key, value in values.items() if value is None)})

    def has(self, place: str) -> bool:
        """Return whether a setting, or what stands at `archives[0].url` of a list, is the user's own."""
        return _setting(place) in self.settings or any(place.startswith(f"{above}.") for above in self.whole)


def require_named(
    raw: Mapping[str, Any], typed: Typed, use: Use, run: Path, plugins: Collection[str], *, own: bool
) -> None:
    """Raise if a run needs what its user has to name again.

    Args:
        raw: The run's configuration with the groups that were chosen, its references as they stand.
        typed: What was typed.
        use: What is done with the run.
        plugins: Those that it needs, and that are not trusted.
        own: Whether it is as its user's own snnlab left it.

    Raises:
        ConfigError: with the words that name it.
    """
    words = list(dict.fromkeys(_words(raw, typed, use, plugins, own=own)))
    if words:
        mine = "needs what is not recorded, is not found from here, or has changed since; name it again:"
        foreign = "was not recorded here by you, or was moved or edited since; name again what it may use:"
        raise ConfigError(run, f"{mine if own else foreign} {' '.join(words)}")


def fetches_nothing(raw: Mapping[str, Any], typed: Typed) -> bool:
    """Return whether a run that is not one's own is to find its recordings here: nobody has asked to fetch them."""
    return "download" in raw["data"] and not typed.has("data.download")


def _words(raw: Mapping[str, Any], typed: Typed, use: Use, plugins: Collection[str], *, own: bool) -> Iterator[str]:
    if plugins and not typed.has("plugins"):
        yield naming(list(plugins))
    for place, text in texts(raw) if use == "training" else ():
        if is_masked(text) and not typed.has(place):
            yield f"{_setting(place)}=ADDRESS"
    if own:
        return
    for place, _ in outside(raw):
        if not typed.has(place):
            yield f"{_setting(place)}=VALUE"
    if use in ("data", "training"):
        yield from _of_data(raw["data"], typed)
    if use == "training":
        yield from _of_training(raw, typed)


def _of_data(data: Mapping[str, Any], typed: Typed) -> Iterator[str]:
    for name in ("root", "store_dir", "split_file", "labels"):
        path, place = data.get(name), f"data.{name}"
        fine = path is None or (name == "labels" and not _climbs(path)) or (name == "store_dir" and _holds_stores(path))
        if not fine and not typed.has(place):
            yield _named(place, path)
    archives = data.get("archives")
    asked = typed.has("data.download") and not typed.has("data.archives")
    if archives and asked and archives not in list(_packaged_archives()):
        yield "'data.archives=[...]'"


def _of_training(raw: Mapping[str, Any], typed: Typed) -> Iterator[str]:
    targets = [node.get("_target_") for node in _mapping(raw, "logger").values() if isinstance(node, Mapping)]
    if _DATABASE in targets and _climbs(raw.get("output_dir", "outputs")) and not typed.has("output_dir"):
        yield _named("output_dir", raw["output_dir"])
    if raw.get("init_from") is not None and not typed.has("init_from"):
        yield _named("init_from", raw["init_from"])
    for group in ("logger", "callbacks"):
        for name, node in _mapping(raw, group).items():
            known = typed.has(f"{group}.{name}") or _is_of_plugin(node, raw, typed)
            if not known and not _stays_inside(node, f"{group}.{name}", typed):
                yield "logger=tensorboard" if group == "logger" else _named(f"{group}.{name}", node)
    for name in _ELSEWHERE:
        if (value := _mapping(raw, "trainer").get(name)) is not None and not typed.has(f"trainer.{name}"):
            yield _named(f"trainer.{name}", value)


def _mapping(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a group of settings; of what is none, a mistake that is told elsewhere, nothing."""
    node = raw.get(name)
    return node if isinstance(node, Mapping) else {}


def _is_of_plugin(node: Any, raw: Mapping[str, Any], typed: Typed) -> bool:
    """Return whether a logger or a callback is of a plugin that was named: its user knows what it does."""
    target = str(node.get("_target_")) if isinstance(node, Mapping) else ""
    return typed.has("plugins") and any(target.startswith(f"{name}.") for name in raw.get("plugins") or ())


def _stays_inside(node: Any, place: str, typed: Typed) -> bool:
    """Return whether a logger or a callback writes nowhere but in the run's folder, but for what was typed."""
    if node is None:
        return True
    if not isinstance(node, Mapping):
        return False
    if node.get("_target_") not in _LOCAL:
        return typed.has(f"{place}._target_") and all(typed.has(one) for one in _leaves(node, place))
    plain = (name in _WORDS or isinstance(value, bool | int | float | None) for name, value in node.items())
    return all(fine or typed.has(f"{place}.{name}") for fine, name in zip(plain, node, strict=True))


def _climbs(path: Any) -> bool:
    pure = PurePath(str(path))
    return pure.is_absolute() or ".." in pure.parts or str(path).startswith("~")


def _holds_stores(path: Any) -> bool:
    """Return whether a folder of this machine is one for packed recordings already."""
    try:
        return any(Path(str(path)).expanduser().glob("*-????????????/manifest.json"))
    except (OSError, ValueError, RuntimeError):  # no path that there can be
        return False


def _packaged_archives() -> Iterator[Any]:
    for path in sorted((config_folder() / "data").glob("*.yaml")):
        yield (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("archives")


def _named(place: str, value: Any) -> str:
    plain = isinstance(value, str) and _PATH.fullmatch(value)
    return quote(f"{place}={value if plain else written(value)}")


def _leaves(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}")
    else:
        yield place


def _setting(place: str) -> str:
    return place.partition("[")[0]
