"""Plain loops over rows, of which the compiled walks of all neurons are made.

Each goes over no more arrays than LLVM's vectoriser can tell apart at run time (8 pairs), without a branch.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, error_model="numpy")
def copy(to: np.ndarray, row: np.ndarray) -> None:
    """Write a row over another."""
    for n in range(to.size):
        to[n] = row[n]


@njit(nogil=True, error_model="numpy")
def add(to: np.ndarray, row: np.ndarray) -> None:
    """Add a row to another."""
    for n in range(to.size):
        to[n] += row[n]


@njit(nogil=True, error_model="numpy")
def product(to: np.ndarray, one: np.ndarray, other: np.ndarray, sign: float) -> None:
    """Write the product of two rows, times a number."""
    sign = to.dtype.type(sign)
    for n in range(to.size):
        to[n] = sign * (one[n] * other[n])


@njit(nogil=True, error_model="numpy")
def add_product(to: np.ndarray, one: np.ndarray, other: np.ndarray, sign: float) -> None:
    """Add the product of two rows, times a number."""
    sign = to.dtype.type(sign)
    for n in range(to.size):
        to[n] += sign * (one[n] * other[n])


@njit(nogil=True, error_model="numpy")
def fire(s: np.ndarray, u: np.ndarray, v_threshold: np.ndarray, strict: bool) -> None:
    """Write which membranes are at the threshold, or above it."""
    if strict:
        for n in range(s.size):
            s[n] = u[n] - v_threshold[n] > 0
    else:
        for n in range(s.size):
            s[n] = u[n] - v_threshold[n] >= 0


@njit(nogil=True, error_model="numpy")
def integrate(u: np.ndarray, v: np.ndarray, j: np.ndarray, a: np.ndarray, g: np.ndarray, c: np.ndarray) -> None:
    """Write the membranes after a step, before their reset."""
    for n in range(u.size):
        u[n] = a[n] * v[n] + (g[n] * j[n] + c[n])


@njit(nogil=True, error_model="numpy")
def subtract(v: np.ndarray, u: np.ndarray, s: np.ndarray, r: np.ndarray) -> None:
    """Write the membranes after a reset by subtraction."""
    for n in range(v.size):
        v[n] = u[n] - s[n] * r[n]


@njit(nogil=True, error_model="numpy")
def to_value(v: np.ndarray, u: np.ndarray, s: np.ndarray, v_reset: np.ndarray) -> None:
    """Write the membranes after a reset to a value."""
    one = v.dtype.type(1)
    for n in range(v.size):
        v[n] = (one - s[n]) * u[n] + s[n] * v_reset[n]


@njit(nogil=True, error_model="numpy")
def total(sums: np.ndarray, slot: int, sample: int, start: int, row: np.ndarray, sign: float) -> None:
    """Add a row, times a number, to the sums in a slot, if it has one."""
    if slot >= 0:
        to = sums[slot, sample, start : start + row.size]
        for n in range(row.size):
            to[n] += sign * row[n]


@njit(nogil=True, error_model="numpy")
def total_of_products(
    sums: np.ndarray, slot: int, sample: int, start: int, one: np.ndarray, other: np.ndarray, sign: float
) -> None:
    """Add the product of two rows, times a number, to the sums in a slot, if it has one."""
    if slot >= 0:
        to = sums[slot, sample, start : start + one.size]
        for n in range(one.size):
            to[n] += sign * (one[n] * other[n])
