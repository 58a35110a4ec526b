"""The surrogates' formulas by number, for kernels that write out their bells."""

from __future__ import annotations

from typing import NamedTuple

from snnlab.nn import surrogate as surrogates
from snnlab.nn.surrogate import MultiGaussian, Surrogate

# Read from memory, because the kernels do not know the formula; the others as they stand in `numba_backward`.
GIVEN, ATAN, SUPERSPIKE, LOGISTIC, CIRC, TRIANGLE, BOX, EXPONENTIAL, GAUSSIAN, LOBES, FLAT = range(11)

_FORMULAS: dict[type[Surrogate], int] = {
    surrogates.Atan: ATAN,
    surrogates.SuperSpike: SUPERSPIKE,
    surrogates.Sigmoid: LOGISTIC,
    surrogates.Tanh: LOGISTIC,
    surrogates.Circ: CIRC,
    surrogates.Triangle: TRIANGLE,
    surrogates.Rectangular: BOX,
    surrogates.Exponential: EXPONENTIAL,
    surrogates.Gaussian: GAUSSIAN,
    surrogates.Erfc: GAUSSIAN,
    surrogates.MultiGaussian: LOBES,
    surrogates.StraightThrough: FLAT,
}


class Bell(NamedTuple):
    """A surrogate's formula.

    Attributes:
        formula: Its number.
        stretch: What its slope is multiplied by.
        lobes: Weight of the narrow Gaussian, exponent and weight of the wide ones, for LOBES.
    """

    formula: int
    stretch: float = 1.0
    lobes: tuple[float, float, float] = (0.0, 0.0, 0.0)


def bell_of(surrogate: Surrogate) -> Bell:
    """Return a surrogate's formula; what is made from one of ours may have another."""
    formula = _FORMULAS.get(type(surrogate), GIVEN)
    if isinstance(surrogate, MultiGaussian) and formula == LOBES:
        h, s, peak = surrogate.h, surrogate.s, surrogate.peak
        return Bell(formula, lobes=((1.0 + h) / peak, -0.5 / (s * s), h / s / peak))
    return Bell(formula, stretch=2.0 if type(surrogate) is surrogates.Tanh else 1.0)
