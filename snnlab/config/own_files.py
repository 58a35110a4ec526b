"""Reads the YAML file of a group, and checks a user's for mistakes that Hydra ignores or reports by a traceback."""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snnlab.config.folders import GLOBAL_GROUPS
from snnlab.errors import ConfigError, did_you_mean, join_names
from snnlab.files import open_regular
from snnlab.spec.annotations import value_text
from snnlab.yaml_files import MAX_BYTES, ContentError, bytes_problem, parse, yaml_problem

_GROUPS = (
    *("neuron", "model", "data", "loss", "learning", "optimizer", "scheduler", "trainer", "callbacks", "logger"),
    "quantize",
)
FIRST_LINE = "# @package _global_"
# A file may come from another person: of Hydra's settings it can set only the folders of runs.
ALLOWED_HYDRA_SETTINGS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
# Byte order marks, the longer ones first: UTF-32's starts with UTF-16's.
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


class ConfigFile(NamedTuple):
    """A file of a group as it was read.

    Attributes:
        path: The file.
        group: The group of its folder; "" for the root of all experiments.
        header: The package that its first line names, or None.
        content: Its settings, and its `defaults`.
        lines: The line, from 1, of each key.
        is_own: Whether it is the user's.
    """

    path: Path
    group: str
    header: str | None
    content: Mapping[str, Any]
    lines: Mapping[str, int]
    is_own: bool

    @property
    def package(self) -> str:
        """The key that its settings go to, "" for the root."""
        return "" if self.header == "_global_" else self.group.partition("/")[0]

    def line_of(self, place: str) -> int | None:
        """Return the line that sets the key at `place` of the experiment, or None."""
        inner = place.removeprefix(f"{self.package}.") if self.package else place
        return None if self.package and inner == place else self.lines.get(inner)

    def error(self, place: str, message: str, hint: str = "", line: int | None = None) -> ConfigError:
        """Return the error for a key, with its line in this file or, if it is not in it, the given one."""
        return _line_error(self.path, self.lines.get(place) or line or 1, place, message, hint)

    def choices(self) -> Iterator[Choice]:
        """Yield the entries of its defaults list; a group without a slash is below the file's group."""
        for entry in self.content.get("defaults") or ():
            key, value = (entry, None) if isinstance(entry, str) else next(iter(entry.items()))
            *words, word = str(key).split()
            path, _, package = word.partition("@")
            path = (path if path.startswith("/") else f"{self.group}/{path}").strip("/")
            if isinstance(entry, str):
                yield Choice(entry, "", (path,), package)
            else:
                names = value if isinstance(value, list) else [] if value is None else [value]
                yield Choice(str(key), path, tuple(f"{path}/{name}" for name in names), package, "override" in words)


class Choice(NamedTuple):
    """An entry of a defaults list.

    Attributes:
        key: As it is written.
        group: The group of which it chooses, "" if it names a file.
        files: Hydra's names of the files.
        package: The key that their settings go to, "" for their own.
        overrides: Whether it changes the choice of another file.
    """

    key: str
    group: str
    files: tuple[str, ...]
    package: str
    overrides: bool = False


@cache
def read_packaged(path: Path, group: str) -> ConfigFile:
    """Return one of snnlab's own files, which is not checked and does not change while a process runs."""
    text = path.read_text(encoding="utf-8")
    content, lines = parse(text)
    return ConfigFile(path, group, _package(text)[0], content or {}, lines, is_own=False)


def read_own(path: Path, group: str, groups: Collection[str]) -> ConfigFile:
    """Check and return one of the user's files.

    Args:
        group: The group of its folder.
        groups: Names of the config groups.
    """
    text = read_text(path)
    content, lines = _parse_yaml(path, text)
    if not isinstance(content, Mapping):
        raise ConfigError(path, f"expected settings, such as name: value, got {_type_text(content)}")
    file = ConfigFile(path, group, _package(text.removeprefix("\ufeff"))[0], content, lines, is_own=True)
    _check_package(file, text)
    _check_defaults(file, groups)
    if not file.package:
        _check_groups(file)
        require_no_hydra(file)
    return file


def require_no_hydra(file: ConfigFile) -> None:
    """Refuse a file that configures Hydra itself: its callbacks, launchers and loggers would run any code."""
    if "hydra" not in file.content:
        return
    for key in _leaf_places(file.content["hydra"], "hydra"):
        if key not in ALLOWED_HYDRA_SETTINGS:
            place = ".".join(key.split(".")[:2])
            raise file.error(place, *hydra_problem(), line=file.lines.get("hydra"))


def hydra_problem() -> tuple[str, str]:
    """Return the message and the hint about a file that configures Hydra."""
    names = join_names(ALLOWED_HYDRA_SETTINGS)
    return f"of Hydra's settings a file can set only {names}", "others are for the command line"


def _leaf_places(node: Any, place: str) -> Iterator[str]:
    if isinstance(node, Mapping) and node and place not in ALLOWED_HYDRA_SETTINGS:
        for key, value in node.items():
            yield from _leaf_places(value, f"{place}.{key}")
    else:
        yield place


def read_text(path: Path) -> str:
    """Return the text of a file."""
    try:
        with open_regular(path) as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror or error}") from error
    if problem := bytes_problem(content):
        raise ConfigError(path, problem)
    for mark, name in _MARKS.items():
        if content.startswith(mark):
            raise ConfigError(path, f"is text in {name}", "save it as UTF-8")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _line_error(
            path, line, "", f"is not UTF-8 text (byte 0x{content[error.start]:02x})", "save it as UTF-8"
        ) from error


def _parse_yaml(path: Path, text: str) -> tuple[Any, Mapping[str, int]]:
    try:
        content, lines = parse(text)
    except yaml.YAMLError as error:
        raise _yaml_error(path, error) from error
    except ContentError as error:
        raise _line_error(path, error.line, "", str(error)) from error
    try:
        if isinstance(content, Mapping):
            OmegaConf.create(dict(content))  # refuses what no setting can be, and wrong references
    except OmegaConfBaseException as error:
        key = str(error.full_key)
        message = f"is not a reference, such as ${{data.num_bins}}: {str(error).splitlines()[0]}"
        raise _line_error(path, lines.get(key), key, message) from error
    return {} if content is None else content, lines


def _yaml_error(path: Path, error: yaml.YAMLError) -> ConfigError:
    mark, problem = getattr(error, "problem_mark", None), yaml_problem(error)
    if mark is None:
        return ConfigError(path, f"not valid YAML: {problem}")
    return _line_error(path, mark.line + 1, "", f"not valid YAML: {problem} (column {mark.column + 1})")


def _check_package(file: ConfigFile, text: str) -> None:
    """Refuse a first line that gives a file's settings a wrong key."""
    group = file.group
    wanted = GLOBAL_GROUPS if group.split("/")[0] in GLOBAL_GROUPS else ()
    content = text.removeprefix("\ufeff")
    package, problem = _package(content)
    if content != text and (wanted or package):
        problem = "starts with a byte order mark (BOM); save it as UTF-8 without one"
    if problem:
        raise _line_error(file.path, 1, "", problem, f"its first line must be '{FIRST_LINE}'" if wanted else "")
    settings = [key for key in file.content if key != "defaults"]
    if wanted and package != "_global_" and settings:
        others = f"package is {package}" if package else "first line is different"
        raise _line_error(
            file.path,
            1,
            "",
            f"its settings ({settings[0]}, ...) have no effect, because its {others}",
            f"the first line of an experiment's file must be '{FIRST_LINE}'",
        )
    names = (None, "_global_", "_group_", group.replace("/", "."), group.split("/")[0])
    if not wanted and package not in names:
        raise _line_error(
            file.path,
            1,
            "",
            f"its package is {package}, but settings of {group} must go to {group}",
            "leave '# @package' out",
        )


def _package(text: str) -> tuple[str | None, str | None]:
    """Return the package that the comments at a file's start name, as Hydra reads it, and their error."""
    after_comment = False
    for line in filter(None, map(str.strip, text.splitlines())):
        if not line.startswith("#"):
            break
        if re.match(r"#\s*@", line):
            words = line.lstrip("#").split()
            if after_comment:
                return None, f"'{line}' is not the first line"
            if len(words) != 2 or words[0] != "@package":
                return None, f"'{line}' is not '{FIRST_LINE}'"
            return words[1], None
        after_comment = True
    return None, None


def _check_defaults(file: ConfigFile, groups: Collection[str]) -> None:
    """Refuse a defaults list that is none, or names no group, or Hydra's own ones."""
    defaults = file.content.get("defaults", [])
    example = "defaults: [override /model: conv_lif]"
    if not isinstance(defaults, list):
        raise file.error("defaults", f"expected a list, got {_type_text(defaults)}", f"write {example}")
    for entry in defaults:
        value = next(iter(entry.values())) if isinstance(entry, Mapping) and len(entry) == 1 else entry
        if not (value is None or isinstance(value, str) or (isinstance(value, list) and value is not entry)):
            raise file.error("defaults", f"{entry!r} is not a file of a group", f"write {example}")
    for number, choice in enumerate(file.choices()):
        if problem := _choice_problem(file, choice, groups):
            raise _line_error(file.path, file.lines.get(f"defaults.{number}"), "defaults", *problem)


def _choice_problem(file: ConfigFile, choice: Choice, groups: Collection[str]) -> tuple[str, str] | None:
    """Return the message and the hint about an entry of a defaults list, or None."""
    group, head = choice.group, choice.group.split("/")[0]
    names = ", ".join(name.rpartition("/")[2] for name in choice.files)
    if "hydra" in re.split(r"[\s/@.:]", choice.key):
        return f"{choice.key}: a file cannot choose for Hydra", "the command line can"
    if not group:
        return None
    if head not in groups:
        return f"there is no group '{head}'", did_you_mean(head, groups)
    if group == file.group and choice.overrides:
        return "a file cannot override its own group", f"write '- {names}' to start from that file"
    if group in groups and group != file.group and not choice.overrides and not choice.package:
        return f"the group {group} exists already", f"write 'override /{group}: {names}'"
    return None


def _check_groups(file: ConfigFile) -> None:
    """Refuse a word, a list or a number instead of a group's settings, which Hydra would accept."""
    for key, value in file.content.items():
        if key in _GROUPS and value is not None and not isinstance(value, Mapping):
            raise file.error(key, f"expected a mapping, got {value_text(value)}", group_hint(key, value))


def group_hint(group: str, node: Any) -> str:
    """Return how to choose a file of a group in a YAML, if its name is given instead of its settings."""
    if not isinstance(node, str) or not node.isidentifier():
        return ""
    return f"a file of the group is chosen by 'defaults: [override /{group}: {node}]', or by {group}={node}"


def _line_error(path: Path, line: int | None, place: str, message: str, hint: str = "") -> ConfigError:
    """Return the error for a line of a file."""
    return ConfigError(place, message, hint).with_fields(origin=(path, line or 1))


def _type_text(value: Any) -> str:
    return "a list" if isinstance(value, list) else "null" if value is None else repr(value)


def type_conflict(files: Sequence[ConfigFile], composed: Mapping[str, Any]) -> ConfigError | None:
    """Return the error of the first setting that is a list instead of a mapping, or the reverse; None without one.

    Args:
        files: The user's files.
        composed: An experiment without them.
    """
    for file in files:
        node = composed.get(file.package, {}) if file.package else composed
        for place, wanted, value in _type_conflicts(file.content, node, ""):
            return file.error(place, f"expected {wanted}, got {_type_text(value)}")
    return None


def _type_conflicts(loaded: Any, base: Any, place: str) -> Iterator[tuple[str, str, Any]]:
    if isinstance(base, Mapping) and isinstance(loaded, list):
        yield place, "a mapping", loaded
    elif isinstance(base, list) and isinstance(loaded, Mapping):
        yield place, "a list", loaded
    elif isinstance(base, Mapping) and isinstance(loaded, Mapping):
        for key, value in loaded.items():
            if key in base:
                yield from _type_conflicts(value, base[key], f"{place}.{key}" if place else str(key))
