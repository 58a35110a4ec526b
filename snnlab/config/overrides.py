"""What the user types after `snnlab train`, made ready for Hydra.

Hydra refuses a setting that the YAML does not spell out, such as `model.layers.lif1.tau_mem=5`. Values are therefore
marked `++`, and whoever builds the object finds the typos, with the place and the likely meant word.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from snnlab.errors import ConfigError

Rivals = Mapping[str, Collection[str]]

# Two ways to say one thing: an override of one takes the place of the other where a file has that.
TIME_RIVALS: Rivals = {"num_bins": ["dt"], "dt": ["num_bins"]}
NEURON_RIVALS: Rivals = {"tau_mem": ["beta"], "beta": ["tau_mem"], "tau_syn": ["alpha"], "alpha": ["tau_syn"]}

# The ways to say the size of a surrogate, of every kind; what shares no way are rivals.
SURROGATE_WAYS = (
    ("width", "height"),
    ("alpha", "scale"),
    ("slope",),
    ("sigma", "scale"),
    ("tau", "scale"),
    ("grad_width", "grad_scale"),
)
_SIZES = list(dict.fromkeys(name for way in SURROGATE_WAYS for name in way))
SURROGATE_RIVALS: Rivals = {
    name: [other for other in _SIZES if not any({name, other} <= set(way) for way in SURROGATE_WAYS)] for name in _SIZES
}

# Settings that a mapping replaces whole.
_WHOLE = (".surrogate", ".learn")

_ASSIGNMENT = re.compile(r"(?P<key>[A-Za-z_][\w.]*)=(?P<value>.*)", re.DOTALL)


def mark_overrides(overrides: Sequence[str], groups: Collection[str]) -> list[str]:
    """Return the overrides with every plain `key=value` marked `++`, and rivals of what is set unset.

    Args:
        overrides: Overrides as typed; those with a prefix of Hydra's own, of `hydra.` and of groups stay as they are,
            but `group=null` becomes `~group`, which is Hydra's word for it.
        groups: Names of the config groups.

    Raises:
        ConfigError: if both of two rivals are given.
    """
    matches = [match for text in overrides if (match := _ASSIGNMENT.match(text.lstrip("+")))]
    keys = {match["key"] for match in matches if match["value"] != "null"}
    marked = [part for text in overrides for part in _mark(text, groups)]
    unset: dict[str, None] = {}
    for key in sorted(keys):
        for rival in rivals_of(key):
            if rival in keys:
                raise ConfigError(f"{key}: give either this or {rival}, not both")
            unset[f"++{rival}=null"] = None
    return [*marked, *unset]


def _mark(text: str, groups: Collection[str]) -> list[str]:
    match = _ASSIGNMENT.match(text)
    if not match or match["key"].startswith("hydra."):
        return [text]
    if match["key"] in groups:
        return [f"~{match['key']}" if match["value"] == "null" else text]
    if match["value"].startswith("[") or (match["value"].startswith("{") and match["key"].endswith(_WHOLE)):
        # Hydra merges a mapping into the file's, so that the size of another formula would stay there, and puts no
        # list in a mapping's place, nor a mapping in a list's.
        return [f"++{match['key']}=null", f"++{text}"]
    return [f"++{text}"]


def merged(overrides: Sequence[str]) -> list[str]:
    """Return the overrides without those that a later one takes the place of: of the same setting, or of its rival."""
    gone: set[str] = set()
    kept = []
    for text in reversed(overrides):
        key, equals, _ = text.partition("=")
        if equals and not key.startswith(("+", "~")):
            if key in gone:
                continue
            gone |= {key, *rivals_of(key)}
        kept.append(text)
    return kept[::-1]


def rivals_of(key: str) -> list[str]:
    """Return the settings that say what `key` says in other words, and that it therefore takes the place of."""
    head, _, leaf = key.rpartition(".")
    table: Rivals = {}
    if head == "data":
        table = TIME_RIVALS
    elif head.split(".")[0] in ("neuron", "model"):
        table = SURROGATE_RIVALS if head.endswith(".surrogate") else NEURON_RIVALS
    return [f"{head}.{rival}" for rival in table.get(leaf, ())]
