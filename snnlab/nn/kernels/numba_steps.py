"""Steps forward of neurons that share their numbers and are reset by subtraction at once, in one loop each."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, error_model="numpy")
def step(
    u: np.ndarray,
    s: np.ndarray,
    v: np.ndarray,
    j: np.ndarray,
    a: float,
    g: float,
    c: float,
    v_threshold: float,
    r: float,
    strict: bool,
) -> None:
    """Do a step of neurons that share their numbers, reset by subtraction at once: one loop, twice as fast as three."""
    zero, one = v.dtype.type(0), v.dtype.type(1)
    if strict:
        for n in range(v.size):
            u_n = a * v[n] + (g * j[n] + c)
            s_n = one if u_n - v_threshold > zero else zero
            u[n] = u_n
            s[n] = s_n
            v[n] = u_n - s_n * r
    else:
        for n in range(v.size):
            u_n = a * v[n] + (g * j[n] + c)
            s_n = one if u_n - v_threshold >= zero else zero
            u[n] = u_n
            s[n] = s_n
            v[n] = u_n - s_n * r


@njit(nogil=True, error_model="numpy")
def step_over(
    j: np.ndarray,
    s: np.ndarray,
    v: np.ndarray,
    a: float,
    g: float,
    c: float,
    v_threshold: float,
    r: float,
    strict: bool,
) -> None:
    """Do what `step` does, with u in the place of j: as two arrays of one memory they would not be vectorised."""
    zero, one = v.dtype.type(0), v.dtype.type(1)
    if strict:
        for n in range(v.size):
            u_n = a * v[n] + (g * j[n] + c)
            s_n = one if u_n - v_threshold > zero else zero
            j[n] = u_n
            s[n] = s_n
            v[n] = u_n - s_n * r
    else:
        for n in range(v.size):
            u_n = a * v[n] + (g * j[n] + c)
            s_n = one if u_n - v_threshold >= zero else zero
            j[n] = u_n
            s[n] = s_n
            v[n] = u_n - s_n * r


@njit(nogil=True, error_model="numpy")
def step_jumping(
    u: np.ndarray,
    s: np.ndarray,
    v: np.ndarray,
    i: np.ndarray,
    x: np.ndarray,
    a: float,
    g: float,
    c: float,
    b: float,
    v_threshold: float,
    r: float,
    strict: bool,
) -> None:
    """Do what `step` does, of a synapse that jumps first, in one loop."""
    zero, one = v.dtype.type(0), v.dtype.type(1)
    if strict:
        for n in range(v.size):
            i_n = b * i[n] + x[n]
            u_n = a * v[n] + (g * i_n + c)
            s_n = one if u_n - v_threshold > zero else zero
            i[n] = i_n
            u[n] = u_n
            s[n] = s_n
            v[n] = u_n - s_n * r
    else:
        for n in range(v.size):
            i_n = b * i[n] + x[n]
            u_n = a * v[n] + (g * i_n + c)
            s_n = one if u_n - v_threshold >= zero else zero
            i[n] = i_n
            u[n] = u_n
            s[n] = s_n
            v[n] = u_n - s_n * r
