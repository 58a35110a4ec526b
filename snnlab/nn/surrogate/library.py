"""Surrogates that also take the parameter of a library in place of width and height."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence

from snnlab.errors import ConfigError, listing
from snnlab.nn.surrogate.base import Parameter, Size, Surrogate, Width
from snnlab.rivals import ways_of


class LibrarySurrogate(Surrogate):
    """A bell whose size can be said in the words of other libraries, translated once at construction.

    Args:
        width: Half width at half maximum, in units of the threshold; 0.3 where it is not given.
        height: The peak; 1 where it is not given.
        library: What the libraries call it, by name.

    Raises:
        ConfigError: if a value is not positive, or the size is said in two ways.
    """

    def __init__(self, width: Width, height: Parameter, **library: float | None) -> None:
        super().__init__(width, height)
        given = {name: float(value) for name, value in library.items() if value is not None}
        if given:
            own = [name for name, value in (("width", width), ("height", height)) if value is not None]
            _require_one_way([*given, *own], ways_of(library))
            self.size = self.translate(given)

    @abstractmethod
    def translate(self, given: Mapping[str, float]) -> Size:
        """Return the size of the bell with a library's parameters, which are in units of u."""


class AlphaSurrogate(LibrarySurrogate):
    """A bell that the libraries give by one number, alpha.

    Args:
        alpha: The libraries' parameter, in place of width and height.
    """

    def __init__(self, width: Width = None, height: Parameter = None, *, alpha: Parameter = None) -> None:
        super().__init__(width, height, alpha=alpha)


class SlopeSurrogate(LibrarySurrogate):
    """A bell that the libraries give by one number, which snnTorch calls slope and the others alpha.

    Args:
        alpha: The libraries' parameter, in place of width and height.
        slope: snnTorch's word for alpha.
    """

    def __init__(
        self,
        width: Width = None,
        height: Parameter = None,
        *,
        alpha: Parameter = None,
        slope: Parameter = None,
    ) -> None:
        super().__init__(width, height, alpha=alpha, slope=slope)


def _require_one_way(names: Collection[str], ways: Sequence[tuple[str, ...]]) -> None:
    if not any(way[0] in names and set(names) <= set(way) for way in ways):
        said = [way[0] + f" (with {listing(way[1:])})" * (len(way) > 1) for way in ways]
        raise ConfigError("", f"give either width and height or {' or '.join(said)}, got {listing(names)}")
