"""Ways to say one thing, of which one is given: an override of one takes the place of the others that a file has."""

from __future__ import annotations

from collections.abc import Collection, Mapping

Rivals = Mapping[str, Collection[str]]

TIME_RIVALS: Rivals = {"num_bins": ["dt"], "dt": ["num_bins"]}
NEURON_RIVALS: Rivals = {"tau_mem": ["beta"], "beta": ["tau_mem"], "tau_syn": ["alpha"], "alpha": ["tau_syn"]}

# To say a surrogate's size: a way's first name is needed, the others may go with it; what shares no way are rivals.
SURROGATE_WAYS = (
    ("width", "height"),
    ("sigma", "scale"),
    ("alpha", "scale"),
    ("slope",),
    ("tau", "scale"),
    ("grad_width", "grad_scale"),
)
_SIZES = list(dict.fromkeys(name for way in SURROGATE_WAYS for name in way))
SURROGATE_RIVALS: Rivals = {
    name: [other for other in _SIZES if not any({name, other} <= set(way) for way in SURROGATE_WAYS)] for name in _SIZES
}


def ways_of(names: Collection[str]) -> list[tuple[str, ...]]:
    """Return the ways to say the size of a surrogate that has settings of these names, but width and height."""
    return [tuple(name for name in way if name in names) for way in SURROGATE_WAYS[1:] if way[0] in names]
