"""Registries: classes registered by name with a decorator and built from a YAML node, errors with their place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from snnlab.errors import ConfigError, did_you_mean, error_context, out_of_memory
from snnlab.spec.signatures import check_settings, checks_arguments, document_arguments, has_parameter

F = TypeVar("F", bound=Callable[..., Any])


def unknown_entry(kind: str, name: Any, place: str, entries: Iterable[str]) -> ConfigError:
    """Return the error for a type that is missing or does not exist.

    Args:
        kind: The word for one entry.
        name: The type.
        place: Key of its node.
        entries: The names that exist.
    """
    if name is None:
        return ConfigError(place, "needs a type", allowed=entries)
    return ConfigError(f"{place}.type", f"there is no {kind} '{name}'", did_you_mean(str(name), entries), entries)


class Registry:
    """The classes and functions of one family, by name.

    Args:
        kind: The word for one entry in messages, for instance `layer`.
        within: A wider registry that gets each entry too: every neuron is a layer.
    """

    def __init__(self, kind: str, within: Registry | None = None) -> None:
        self.kind = kind
        self.within = within
        self._entries: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[F], F]:
        """Return a decorator that registers a class or function under `name` and makes it check its arguments."""

        def decorate(factory: F) -> F:
            if name in self._entries:
                raise ValueError(f"the {self.kind} '{name}' is registered twice")
            document_arguments(factory)
            # A wider registry returns it with the check of its arguments already.
            checked = checks_arguments(factory) if self.within is None else self.within.register(name)(factory)
            self._entries[name] = checked
            return checked

        return decorate

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def get(self, name: Any, place: str) -> Callable[..., Any]:
        """Return the entry of a name, or raise a ConfigError that lists the entries."""
        if not isinstance(name, str) or name not in self._entries:
            raise unknown_entry(self.kind, name, place, self)
        return self._entries[name]

    def build(self, name: Any, settings: Mapping[str, Any], place: str, /, **context: Any) -> Any:
        """Build the entry `name` from its settings.

        Args:
            name: Name of the entry, the YAML's `type`.
            settings: The other keys of the YAML node.
            place: Key of the node, for instance `model.layers.lif1`.
            context: Values of the caller, such as `in_shape` and `dt`; each is passed if the signature has it.
        """
        factory = self.get(name, place)
        check_settings(factory, settings, place, str(name), supplied=tuple(context))
        wanted = {key: value for key, value in context.items() if has_parameter(factory, key)}
        try:
            with error_context(place):
                return factory(**settings, **wanted)
        except (MemoryError, OverflowError, RuntimeError, TypeError) as error:  # PyTorch's out-of-memory errors
            if problem := out_of_memory(error):
                raise ConfigError(place, problem) from error
            raise
