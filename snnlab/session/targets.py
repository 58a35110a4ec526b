"""Third-party objects by `_target_`: only classes of a known kind, from known modules, so that a YAML runs no code."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from snnlab.config.folders import group_files
from snnlab.errors import ConfigError, did_you_mean, listing
from snnlab.settings import check_settings

T = TypeVar("T")


def find_target(node: Mapping[str, Any], kinds: Sequence[type[T]], modules: Collection[str], place: str) -> type[T]:
    """Return the class that `_target_` names.

    Args:
        kinds: Classes of which the target must be a subclass of one.
        modules: Modules that may be named; what they themselves import from elsewhere is refused.
        place: Where the node stands.

    Raises:
        ConfigError: if there is no such class, or it is not allowed.
    """
    target = node.get("_target_")
    if target is None:
        group, _, name = place.partition(".")
        files = group_files(group, None)
        choose = name if name in files else "default" if "default" in files else "NAME"
        raise ConfigError(place, "there is no _target_, so it is nothing yet", f"choose {group}={choose} first")
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(f"{place}._target_", f"expected a class such as {next(iter(modules))}.NAME, got {target!r}")
    module_name, _, name = target.rpartition(".")
    if not _within(module_name, modules):
        raise ConfigError(
            f"{place}._target_",
            f"{target} is not allowed here, it must come from {listing(modules)}",
            "plugins=[PACKAGE] behind the command allows one of your own",
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{place}._target_", f"there is no module {module_name}") from error
    found = getattr(module, name, None)
    allowed = isinstance(found, type) and issubclass(found, tuple(kinds)) and _within(found.__module__, modules)
    if not allowed:
        names = [n for n, value in vars(module).items() if isinstance(value, type) and issubclass(value, tuple(kinds))]
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ConfigError(f"{place}._target_", f"{target} is no {wanted}", did_you_mean(name, names))
    return found  # type: ignore[return-value]


def partial_target(
    node: Mapping[str, Any],
    kinds: Sequence[type[T]],
    modules: Collection[str],
    place: str,
    *,
    given: Collection[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> Callable[..., T]:
    """Return a function that builds what the node describes, its settings checked by name and type already.

    Args:
        node: `_target_` and arguments.
        kinds: See `find_target`.
        modules: See `find_target`.
        place: See `find_target`.
        given: Arguments that the caller passes when it builds.
        extra: Arguments that are used where the node does not set them and the class takes them.

    Raises:
        ConfigError: if the target or an argument is wrong; building raises it where the class refuses a value.
    """
    target = find_target(node, kinds, modules, place)
    settings = {key: value for key, value in node.items() if key != "_target_"}
    for key, value in settings.items():
        if isinstance(value, Mapping) and "_target_" in value:
            raise ConfigError(f"{place}.{key}", "an object inside an object is not supported here")
    arguments = {**(extra or {}), **settings}
    checked = {key: value for key, value in arguments.items() if key in settings or key not in given}
    check_settings(target, checked, place, target.__name__, given)

    def build(*positional: Any) -> T:
        try:
            return target(*positional, **arguments)
        except (ValueError, TypeError) as error:
            raise ConfigError(place, f"{target.__name__}: {error}") from error

    return build


def check_numbers(settings: Mapping[str, Any], place: str, not_negative: Callable[[str], bool]) -> None:
    """Refuse numbers that are none, or below 0 where that means nothing: what is built of them mostly takes them.

    Args:
        settings: Numbers, alone or in lists, and whatever else.
        place: Where they stand.
        not_negative: Whether a setting of this name cannot be below 0.

    Raises:
        ConfigError: naming the first such number.
    """
    for key, value in _numbers(settings):
        if not math.isfinite(value):
            raise ConfigError(f"{place}.{key}", f"expected a finite number, got {value}")
        if value < 0 and not_negative(key):
            raise ConfigError(f"{place}.{key}", f"must be >= 0, got {value}")


def _numbers(settings: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in settings.items():
        for number in value if isinstance(value, list | tuple) else [value]:
            if isinstance(number, int | float) and not isinstance(number, bool):
                yield key, number


def _within(module: str, allowed: Collection[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in allowed)
