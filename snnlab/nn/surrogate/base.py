"""A surrogate gradient by its size, and the registry of the formulas."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.intervals import above
from snnlab.registry import Registry
from snnlab.settings import checks_arguments

SURROGATES = Registry("surrogate")

DEFAULT_WIDTH = 0.3
DEFAULT_HEIGHT = 1.0

Width = Annotated[float | None, "thresholds", above(0)]
Parameter = Annotated[float | None, above(0)]


class Size(NamedTuple):
    """Half width and peak of a bell, and in what they are measured.

    Attributes:
        width: Half width at half maximum.
        height: The peak.
        absolute: Whether the width is in units of u, as with most libraries, and not in thresholds.
        per_threshold: Whether the peak is divided by the threshold.
    """

    width: float
    height: float
    absolute: bool = False
    per_threshold: bool = False


@checks_arguments
class Surrogate(ABC):
    """A bell over the distance to the threshold.

        ds/du = height * shape(|u - v_threshold| / (width * v_threshold)),   shape(0) = 1, shape(1) = 1/2

    A subclass writes `bell(x)` in the unit that suits its formula, and says in `half` which x is one half width.

    Args:
        width: Half width at half maximum, in units of the threshold; 0.3 where it is not given.
        height: The peak; 1 where it is not given.

    Raises:
        ConfigError: if width or height is not positive.
    """

    half: float = 1.0

    def __init__(self, width: Width = None, height: Parameter = None) -> None:
        self.size = Size(
            DEFAULT_WIDTH if width is None else float(width),
            DEFAULT_HEIGHT if height is None else float(height),
        )

    def derivative(self, distance: Tensor, v_threshold: float | Tensor) -> Tensor:
        """Return ds/du at `distance` = u - v_threshold."""
        slope, height = self.factors(v_threshold)
        bell = self.bell(distance * slope)
        return bell if isinstance(height, float) and height == 1.0 else bell * height

    def factors(self, v_threshold: float | Tensor) -> tuple[float | Tensor, float | Tensor]:
        """Return k and the height of ds/du = height * bell(k * (u - v_threshold))."""
        slope = self.half / self.size.width
        return (
            slope if self.size.absolute else slope / v_threshold,
            self.size.height / v_threshold if self.size.per_threshold else self.size.height,
        )

    def shape(self, z: Tensor) -> Tensor:
        """Return the bell of height 1 at z half widths from its centre."""
        return self.bell(z * self.half)

    @abstractmethod
    def bell(self, x: Tensor) -> Tensor:
        """Return the bell of height 1 at x, which may be negative."""

    def __repr__(self) -> str:
        width, height, absolute, per_threshold = self.size
        units = " in units of u" * absolute, " / v_threshold" * per_threshold
        return f"{type(self).__name__}(width={width:g}{units[0]}, height={height:g}{units[1]})"


def as_surrogate(given: Surrogate | Mapping[str, Any]) -> Surrogate:
    """Return a surrogate from an object or from its YAML node `{type: atan, width: 0.3, height: 1.0}`.

    A setting that is null counts as not given: an override leaves nulls in the place of what it replaces.
    """
    if isinstance(given, Surrogate):
        return given
    if not isinstance(given, Mapping):
        raise ConfigError("surrogate", f"expected a mapping such as {{type: atan, width: 0.3}}, got {given!r}")
    settings = dict(given)
    kind = settings.pop("type", "atan")
    return SURROGATES.build(kind, {k: v for k, v in settings.items() if v is not None}, "surrogate")
