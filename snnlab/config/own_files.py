"""Checks the user's YAML files before Hydra composes them, for mistakes that it ignores or reports by a traceback."""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snnlab.config.folders import GLOBAL_GROUPS
from snnlab.config.hints import group_hint
from snnlab.config.schema import line_of
from snnlab.errors import ConfigError, did_you_mean
from snnlab.files import open_regular
from snnlab.spec.annotations import value_text
from snnlab.yaml_files import require_bounded

_GROUPS = ("neuron", "model", "data", "loss", "optimizer", "scheduler", "trainer", "callbacks", "logger")
FIRST_LINE = "# @package _global_"
_CHOICE = re.compile(r"(?P<group>[A-Za-z_][\w/]*)(?:@[\w.]*)?=(?P<names>.*)")
# Byte order marks, the longer ones first: UTF-32's starts with UTF-16's.
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


class OwnFile(NamedTuple):
    """A chosen file of the user: its group, the key that its settings go to ("" for the root), and its content."""

    path: Path
    group: str
    package: str
    loaded: Mapping[str, Any]


def check_chosen(user_dir: Path | None, overrides: Sequence[str], groups: Collection[str]) -> list[OwnFile]:
    """Check and return the user's files that overrides choose, and those that these name in their defaults.

    Args:
        user_dir: The user's folder.
        groups: Names of the config groups.

    Raises:
        ConfigError: naming the first file that cannot be used, and the line.
    """
    found: list[OwnFile] = []
    for text in overrides if user_dir else ():
        match = _CHOICE.fullmatch(text.lstrip("+"))
        for name in _split_names(match["names"]) if match else ():
            found += _with_defaults(user_dir, match["group"], name, (), groups)  # type: ignore[arg-type,index]
    return found


def files_and_packages(files: Sequence[OwnFile]) -> list[tuple[Path, str]]:
    """Return the files with the key that each sets; later files override earlier ones."""
    speaking = [one for one in files if one.group.split("/")[0] in GLOBAL_GROUPS]
    of_groups = [one for one in files if one not in speaking]
    return [(one.path, one.package) for one in [*of_groups, *reversed(speaking)]]


def check_file(path: Path, group: str) -> OwnFile:
    """Check one file, and return it.

    Args:
        group: The group of its folder.

    Raises:
        ConfigError: if it is not a YAML mapping in UTF-8, or has a wrong package.
    """
    text = read_text(path)
    require_bounded(path)
    loaded = _parse_yaml(path, text)
    if not isinstance(loaded, Mapping):
        raise ConfigError(path, f"expected settings, such as name: value, got {_type_text(loaded)}")
    package = _check_package(path, group, text, loaded)
    _check_defaults(path, loaded)
    if not package:
        _check_groups(path, loaded)
    return OwnFile(path, group, package, loaded)


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        ConfigError: if it cannot be read, or is not UTF-8.
    """
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror or error}") from error
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


def _split_names(content: str) -> list[str]:
    return [name.strip(" '\"") for name in content.strip("[]").split(",")]


def _with_defaults(
    user_dir: Path, group: str, name: str, above: Sequence[Path], groups: Collection[str]
) -> Iterator[OwnFile]:
    path = user_dir / group / f"{name.removesuffix('.yaml')}.yaml"
    if not path.is_file():
        return  # a packaged file, or a missing one, which Hydra reports
    if path in above:
        raise ConfigError(path, f"its defaults lead back to itself: {' > '.join(one.stem for one in [*above, path])}")
    file = check_file(path, group)
    yield file
    for other, names in _choices_in(path, file.loaded.get("defaults") or (), group, groups):
        for one in names:
            yield from _with_defaults(user_dir, other, one, [*above, path], groups)


def _choices_in(
    path: Path, defaults: Sequence[Any], group: str, groups: Collection[str]
) -> Iterator[tuple[str, list[str]]]:
    """Yield the groups and files that a defaults list names; a group without a slash is below the file's group."""
    for entry in defaults:
        if isinstance(entry, str):
            parent, _, name = f"{entry if entry.startswith('/') else f'/{group}/{entry}'}".rpartition("/")
            yield parent[1:], [name]
            continue
        (key, value), *_ = entry.items()
        words = str(key).split()
        word, _, package = words[-1].partition("@")
        other = word[1:] if word.startswith("/") else f"{group}/{word}"
        known = other.split("/")[0]
        if known != "hydra" and known not in groups:
            raise _defaults_error(path, f"there is no group '{known}'", did_you_mean(known, groups))
        if other == group and "override" in words:
            raise _defaults_error(
                path, "a file cannot override its own group", f"write '- {value}' to start from that file"
            )
        if other in groups and other != group and "override" not in words and not package:
            raise _defaults_error(path, f"the group {other} exists already", f"write 'override /{other}: {value}'")
        if value is not None:
            yield other, [str(one) for one in (value if isinstance(value, list) else [value])]


def _parse_yaml(path: Path, text: str) -> Any:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if not isinstance(node, yaml.MappingNode):
            return {} if node is None else node.value if isinstance(node, yaml.ScalarNode) else []
        return OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except yaml.YAMLError as error:
        raise ConfigError(*_yaml_problem(path, error)) from error
    except OmegaConfBaseException as error:
        raise ConfigError(
            path, (f"{error.full_key}: is not a reference, such as ${{data.num_bins}}: {str(error).splitlines()[0]}")
        ) from error
    except (ValueError, TypeError, OverflowError) as error:  # from a wrong value, such as !!int abc
        raise ConfigError(f"{path}{_line_of_value(text)}", " ".join(str(error).split())) from error
    except RecursionError as error:
        raise ConfigError(path, "is nested too deeply, or an anchor contains itself") from error


def _yaml_problem(path: Path, error: yaml.YAMLError) -> tuple[str, str]:
    """Return the place and the message of a YAML error."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or " ".join(str(error).split())
    if mark is not None:
        return f"{path}, line {mark.line + 1}, column {mark.column + 1}", f"not valid YAML: {problem}"
    if isinstance(error, yaml.reader.ReaderError):
        problem = f"it contains the character #x{error.character:02x} at position {error.position}"
    return str(path), f"not valid YAML: {problem}"


def _line_of_value(text: str) -> str:
    """Return `:LINE` of the first value that does not fit its tag, or an empty text."""
    loader = yaml.SafeLoader("")
    pending: list[Any] = [yaml.compose(text, Loader=yaml.SafeLoader)]
    while pending:
        node = pending.pop(0)
        if isinstance(node, yaml.MappingNode):
            pending += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            pending += node.value
        else:
            try:
                loader.construct_object(node)
            except (ValueError, TypeError, OverflowError):
                return f":{node.start_mark.line + 1}"
    return ""


def _check_package(path: Path, group: str, text: str, loaded: Mapping[str, Any]) -> str:
    """Return the key that a file's settings go to; refuse a first line that gives them a wrong key."""
    wanted = GLOBAL_GROUPS if group.split("/")[0] in GLOBAL_GROUPS else ()
    content = text.removeprefix("\ufeff")
    package, problem = _package(content)
    if content != text and (wanted or package):
        problem = "starts with a byte order mark (BOM); save it as UTF-8 without one"
    if problem:
        raise _line_error(path, 1, "", problem, f"its first line must be '{FIRST_LINE}'" if wanted else "")
    settings = [key for key in loaded if key != "defaults"]
    if wanted and package != "_global_" and settings:
        others = f"package is {package}" if package else "first line is different"
        raise _line_error(
            path,
            1,
            "",
            f"its settings ({settings[0]}, ...) have no effect, because its {others}",
            f"the first line of an experiment's file must be '{FIRST_LINE}'",
        )
    names = (None, "_global_", "_group_", group.replace("/", "."), group.split("/")[0])
    if not wanted and package not in names:
        raise _line_error(
            path,
            1,
            "",
            f"its package is {package}, but settings of {group} must go to {group}",
            "leave '# @package' out",
        )
    return "" if package == "_global_" else group.split("/")[0]


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


def _check_defaults(path: Path, loaded: Mapping[str, Any]) -> None:
    defaults = loaded.get("defaults", [])
    example = "defaults: [override /model: conv_lif]"
    if not isinstance(defaults, list):
        raise _defaults_error(path, f"expected a list, got {_type_text(defaults)}", f"write {example}")
    for entry in defaults:
        value = next(iter(entry.values())) if isinstance(entry, Mapping) and len(entry) == 1 else entry
        if not (value is None or isinstance(value, str) or (isinstance(value, list) and value is not entry)):
            raise _defaults_error(path, f"{entry!r} is not a file of a group", f"write {example}")


def _check_groups(path: Path, loaded: Mapping[str, Any]) -> None:
    """Refuse a word, a list or a number instead of a group's settings, which Hydra would accept."""
    for key, value in loaded.items():
        if key in _GROUPS and value is not None and not isinstance(value, Mapping):
            raise _line_error(
                path,
                line_of(path, key, ""),
                key,
                f"expected a mapping, got {value_text(value)}",
                group_hint(key, value),
            )


def _line_error(path: Path, line: int | None, place: str, message: str, hint: str = "") -> ConfigError:
    """Return the error for a line of a file."""
    return ConfigError(place, message, hint).with_fields(origin=(path, line or 1))


def _defaults_error(path: Path, message: str, hint: str) -> ConfigError:
    return _line_error(path, line_of(path, "defaults", ""), "defaults", message, hint)


def _type_text(value: Any) -> str:
    return "a list" if isinstance(value, list) else "null" if value is None else repr(value)


def type_conflict(files: Sequence[OwnFile], composed: Mapping[str, Any]) -> ConfigError | None:
    """Return the error of the first setting that is a list instead of a mapping, or the reverse; None without one.

    Args:
        files: The user's files.
        composed: An experiment without them.
    """
    for path, group, _, loaded in files:
        node = composed if group in GLOBAL_GROUPS else composed.get(group, {})
        for place, wanted, value in _type_conflicts(loaded, node, ""):
            return _line_error(path, line_of(path, place, ""), place, f"expected {wanted}, got {_type_text(value)}")
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
