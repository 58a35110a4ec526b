"""Settings that exclude each other."""

from __future__ import annotations

from collections.abc import Collection, Mapping

Exclusions = Mapping[str, Collection[str]]
NEURON_EXCLUSIONS: Exclusions = {"tau_mem": ["beta"], "beta": ["tau_mem"], "tau_syn": ["alpha"], "alpha": ["tau_syn"]}
# Groups of settings for the size of a surrogate: the first of a group is required, the others are optional;
# settings without a common group exclude each other.
SURROGATE_SIZES = (
    ("width", "height"),
    ("sigma", "scale"),
    ("alpha", "scale"),
    ("slope",),
    ("tau", "scale"),
    ("grad_width", "grad_scale"),
)
_SIZES = list(dict.fromkeys(name for group in SURROGATE_SIZES for name in group))
SURROGATE_EXCLUSIONS: Exclusions = {
    name: [other for other in _SIZES if not any({name, other} <= set(group) for group in SURROGATE_SIZES)]
    for name in _SIZES
}


def library_size_groups(names: Collection[str]) -> list[tuple[str, ...]]:
    """Return the groups of `SURROGATE_SIZES` that a surrogate with these settings has, except (width, height)."""
    return [tuple(name for name in group if name in names) for group in SURROGATE_SIZES[1:] if group[0] in names]
