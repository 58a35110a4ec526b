"""Prepares the overrides that the user types for Hydra.

Hydra refuses a setting that the YAML does not contain, such as `model.layers.lif1.tau_mem=5`. Values are therefore
marked `++`, and the code that builds the object reports typos, with the place and the likely meant word.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from snnlab.bundles import is_bundle
from snnlab.config.folders import GLOBAL_GROUPS
from snnlab.config.hints import word_hint
from snnlab.errors import ConfigError, join_names
from snnlab.experiment_fields import DataFields
from snnlab.spec.override_texts import is_override, key_of, quoted, written
from snnlab.spec.signatures import fields_of
from snnlab.zoo import is_packaged, run_path

# Settings that a typed mapping replaces instead of merging.
_REPLACED_WHOLE = (".surrogate", ".learn")
# Groups whose file describes one object; a typed mapping that names another object replaces it.
_OBJECTS = ("optimizer", "scheduler", "loss", "learning", "quantize")
_ASSIGNMENT = re.compile(r"(?P<key>[A-Za-z_][\w.-]*)=(?P<value>.*)", re.DOTALL)
# Settings that are texts, mostly paths: Hydra's grammar would parse `2024`, `a,b` and `[x]` as other types.
_TEXTS = (
    *("name", "output_dir", "init_from", "file", "dir", "dirpath", "save_dir"),
    *("root", "store_dir", "labels", "split_file", "folder", "storage"),
)
# The settings of Hydra that snnlab uses: the folders of runs. The others are for Hydra's launchers, which it does not.
USED_HYDRA_SETTINGS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
_INSTEAD = {
    "launcher": "snnlab train -m launcher=joblib workers=N trains several runs at a time",
    "sweeper": "snnlab sweep searches for better settings",
    "job_logging": "the log of a run is in its log.txt",
    "hydra_logging": "the log of a run is in its log.txt",
    "verbose": "SNNLAB_DEBUG=1 shows tracebacks",
    "mode": "-m trains several runs",
    "searchpath": "--config-dir DIR names a folder of your YAML files",
    "callbacks": "callbacks=... are those of the trainer",
}
# Groups of which several files can be chosen together.
_SEVERAL_FILES = ("logger", "callbacks")


def to_hydra_grammar(overrides: Sequence[str], groups: Collection[str], *, several: bool = False) -> list[str]:
    """Return the overrides in Hydra's grammar: texts quoted, a list of one file as that file.

    Args:
        groups: Names of the config groups.
        several: Whether a setting can have several values, one run for each.
    """
    for text in overrides:
        _refuse_unused_hydra(text)
        _refuse_without_effect(text)
        _refuse_marked_group(text, groups)
    return [_single_file(_quote_text(text, several), groups, several) for text in overrides]


def repetition_warnings(overrides: Sequence[str]) -> list[str]:
    """Return a warning for each setting that is set several times to different values; the last one counts."""
    values: dict[str, list[str]] = {}
    for text in overrides:
        if "=" in text and not text.startswith("~"):
            values.setdefault(key_of(text), []).append(text.partition("=")[2])
    return [
        f"{key} is set {len(key_values)} times, to {join_names(key_values)}; the last one counts"
        for key, key_values in values.items()
        if len(set(key_values)) > 1
    ]


def _quote_text(text: str, several: bool) -> str:
    match = _ASSIGNMENT.match(text.lstrip("+"))
    if match is None or match["value"][:1] in ("", "'", '"') or match["value"] == "null":
        return text
    value, takes_text = match["value"], match["key"].rpartition(".")[2] in _TEXTS
    parsed = _parsed(text)
    if parsed is None:
        keep = value[0] in "[{" and not takes_text  # a list or a mapping with a mistake, which Hydra reports
    else:
        sweeps = several and parsed.is_sweep_override()
        keep = not takes_text or sweeps or value[0] in "[{" or parsed.value() == value
    return text if keep else f"{text[: -len(value)]}{quoted(value)}"


def _parsed(text: str) -> Override | None:
    """Return an override parsed by Hydra's grammar, None if it cannot be parsed."""
    try:
        return OverridesParser.create().parse_overrides([text])[0]
    except HydraException:
        return None


def _single_file(text: str, groups: Collection[str], several: bool) -> str:
    match = _ASSIGNMENT.match(text.lstrip("+"))
    if match is None or match["key"] not in groups:
        return text
    if not re.fullmatch(r"\[.*\]", match["value"]):
        return _quote_name(text, match["value"])
    files = [name.strip() for name in match["value"][1:-1].split(",") if name.strip()]
    if len(files) == 1:
        return f"{text[: -len(match['value'])]}{files[0]}"
    if match["key"] in _SEVERAL_FILES or several:
        return text
    takes = f"only {' and '.join(_SEVERAL_FILES)} take several" if files else f"{match['key']}=null takes none"
    raise ConfigError(text, f"takes one file, such as {match['key']}={files[0] if files else 'NAME'}", takes)


def _quote_name(text: str, value: str) -> str:
    """Return the choice of a file by its name, quoted if Hydra's grammar would parse it as another type."""
    head, name = text[: -len(value)], value.strip("'\"")
    ending = Path(name).suffix in (".yaml", ".yml")
    if name.startswith(("/", "./", "../", "~")) or (ending and "/" in name):
        folder = Path(name).parent.parent if Path(name).parent.name == head.strip("+=") else "DIR"
        raise ConfigError(text, "takes a file's name", f"write --config-dir {folder} {head}{Path(name).stem or 'NAME'}")
    if ending:
        raise ConfigError(text, f"write {head}{Path(name).stem}")
    parsed = _parsed(text)
    of_other_kind = parsed is not None and isinstance(parsed.value(), bool | int | float)
    return f"{head}{quoted(value)}" if of_other_kind else text


def _refuse_unused_hydra(text: str) -> None:
    """Refuse a setting of Hydra that snnlab does not use, and a folder that is not a text."""
    key, value = key_of(text), text.partition("=")[2]
    head, _, rest = key.replace("/", ".").partition(".")
    if key in USED_HYDRA_SETTINGS and (value == "null" or value[:1] in ("[", "{")):
        raise ConfigError(text, "is not a folder", "name one")
    if head == "hydra" and key not in USED_HYDRA_SETTINGS:
        instead = _INSTEAD.get(
            rest.partition(".")[0], f"of Hydra's settings snnlab uses {join_names(USED_HYDRA_SETTINGS)}"
        )
        raise ConfigError(key, "is not used here", instead)


def _refuse_without_effect(text: str) -> None:
    """Refuse a setting of a group (`experiment.lr=...`) whose files set values of the whole experiment."""
    group, dot, setting = key_of(text).partition(".")
    if group in GLOBAL_GROUPS and dot:
        raise ConfigError(text, "has no effect here", f"write {setting}={text.partition('=')[2]}")


def _refuse_marked_group(text: str, groups: Collection[str]) -> None:
    """Refuse Hydra's syntax to add a group, or to put its file at another key."""
    group, at, _ = key_of(text).partition("@")
    if group in groups and at and not text.startswith("+"):
        raise ConfigError(text, "a group's file sets the group's own key", f"write {group}={text.partition('=')[2]}")
    if group in groups and text.startswith("+") and not at and not text.partition("=")[2].startswith("{"):
        raise ConfigError(text, "the group exists already", f"write {text.lstrip('+')}")


def mark_overrides(overrides: Sequence[str], groups: Collection[str]) -> list[str]:
    """Return the overrides with every plain `key=value` marked `++`, and the other setting of the steps set to null.

    Args:
        overrides: Overrides as typed; those with `+` or `~`, of `hydra.` and of groups stay as they are, but
            `group=null` becomes `~group`, as in Hydra's grammar.
        groups: Names of the config groups.
    """
    matches = [match for text in overrides if (match := _ASSIGNMENT.match(text.lstrip("+")))]
    keys = {match["key"] for match in matches if match["value"] != "null"}
    marked = [part for text in overrides for part in _marked_override(text, groups)]
    unset: dict[str, None] = {}
    for key in sorted(keys):
        for rival in data_rivals(key):  # of others the kind decides
            if rival in keys:
                raise ConfigError(key, f"give either this or {rival}, not both")
            unset[f"++{rival}=null"] = None
    return [*marked, *unset]


def _marked_override(text: str, groups: Collection[str]) -> list[str]:
    match = _ASSIGNMENT.match(text)
    if not match or match["key"].startswith("hydra."):
        return [text]
    if match["key"] in groups and not match["value"].startswith("{"):
        return [f"~{match['key']}" if match["value"] == "null" else text]
    if match["key"] in _OBJECTS and _names_type(text):
        return [f"~{match['key']}", f"++{text}"]
    if match["value"].startswith("[") or (match["value"].startswith("{") and match["key"].endswith(_REPLACED_WHOLE)):
        # Hydra merges a mapping into the file's, so that settings of another type would remain, and it replaces
        # neither a mapping by a list nor a list by a mapping.
        return [f"++{match['key']}=null", f"++{text}"]
    return [f"++{text}"]


def _names_type(text: str) -> bool:
    """Return whether a mapping names its type; then it replaces the file's settings, which may be of another type."""
    parsed = _parsed(text)
    value = None if parsed is None or parsed.is_sweep_override() else parsed.value()
    return isinstance(value, dict) and not {"_target_", "type"}.isdisjoint(map(str, value))


def data_rivals(key: str) -> list[str]:
    """Return the settings of the data that one replaces: others for the same quantity."""
    head, _, leaf = key.rpartition(".")
    fields = fields_of(DataFields) if head == "data" else {}
    return [f"data.{rival}" for rival in (fields[leaf].excludes if leaf in fields else ())]


# Nesting depth of the settings of a group, as in `model.layers.lif1.tau_mem`; of other groups 1, as in `optimizer.lr`.
_DEPTH = {"model": 3}
# Settings whose values are not in Hydra's grammar.
_UNPARSED = ("resume",)
_USAGE = (
    "takes overrides as on the command line, 'model=mlp_lif', or Python values: model='mlp_lif',"
    " optimizer={'lr': 0.01}, {'trainer.max_epochs': 5}"
)


def as_overrides(
    arguments: Sequence[Any], settings: Mapping[str, Any], groups: Collection[str], what: str
) -> list[str]:
    """Return settings as overrides, in the given order.

    Args:
        arguments: Overrides as on the command line, or mappings of settings to values.
        settings: Further settings, by name.
        groups: Names of the config groups; a mapping for a group becomes one override per setting.
        what: The called function, for a message.
    """
    found: list[str] = []
    for one in (*arguments, settings):
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, Mapping):
            found += [text for key, value in one.items() for text in _overrides(key, value, groups, what)]
        else:
            raise TypeError(f"{what} {_USAGE}; got {one!r}")
    return found


def _overrides(key: Any, value: Any, groups: Collection[str], what: str) -> Iterator[str]:
    if not isinstance(key, str):
        raise TypeError(f"{what} {_USAGE}; got {key!r} as the name of a setting")
    if key in _UNPARSED:
        yield f"{key}={value}"
        return
    for place, each in _leaf_values(key, value, _DEPTH.get(key, 1) if key in groups else 0):
        yield f"{place}={written(_plain(each, place, what))}"


def _leaf_values(key: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if not depth or not isinstance(value, Mapping) or not value:
        yield key, value
        return
    for name, inner in value.items():
        yield from _leaf_values(f"{key}.{name}", inner, depth - 1)


def _plain(value: Any, place: str, what: str) -> Any:
    """Return a value that YAML can represent."""
    if isinstance(value, np.generic | np.ndarray):  # first: a NumPy float is a float too
        return value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, f"{place}.{key}", what) for key, inner in value.items()}
    if isinstance(value, list | tuple | range):
        return [_plain(inner, place, what) for inner in value]
    raise TypeError(f"{what}: {place}: {value!r} cannot be the value of a setting")


_RECORDED = "config.yaml"


def require_overrides(words: Sequence[str], user_dir: Path | None) -> None:
    """Refuse a word that is not an override."""
    for text in words:
        if not is_override(text):
            raise ConfigError(text or repr(text), f"not an override{word_hint(text, user_dir)}")


def split_config_file(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Return the config.yaml of a run to train again, None if none is given, and the other arguments."""
    named = [word for word in arguments if Path(word).name == _RECORDED and not is_override(word)]
    found = [path for path in (Path(word).expanduser() for word in named) if path.is_file()]
    others = [word for word in arguments if word not in named]
    if not found:
        return None, list(arguments)
    if len(named) > 1:
        raise ConfigError("train", f"takes one run's {_RECORDED}, got {join_names(named)}")
    return found[0], others


_RESUME = "resume="


def run_to_resume(overrides: Sequence[str]) -> tuple[Path, list[str]] | None:
    """Return the run of `resume=RUN` and the other overrides; None without `resume`."""
    for key in (text.partition("=")[0].lstrip("+") for text in overrides if "=" in text):
        if key != "resume" and get_close_matches(key, ["resume"], cutoff=0.8):
            raise ConfigError("", f"there is no setting '{key}'. Did you mean 'resume'?")
    for text in overrides:
        if text.startswith(f"+{_RESUME}"):
            raise ConfigError(text, "cannot be added", "leave out the +")
    runs = [text.removeprefix(_RESUME) for text in overrides if text.startswith(_RESUME)]
    if not runs:
        return None
    if len(runs) > 1 or not runs[0] or runs[0] == "null":
        raise ConfigError("resume", "name one run's folder, such as resume=outputs/NAME/TIME_SEED")
    run = run_path(runs[0])
    if is_packaged(run) or is_bundle(run):
        raise ConfigError("resume", f"{runs[0]} is read-only", f"init_from={runs[0]} starts with its weights")
    return run, [text for text in overrides if not text.startswith(_RESUME)]
