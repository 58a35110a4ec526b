"""What the user types after `snnlab train`, made ready for Hydra.

Hydra refuses a setting that the YAML does not spell out, such as `model.layers.lif1.tau_mem=5`. Values are therefore
marked `++`, and whoever builds the object finds the typos, with the place and the likely meant word.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from snnlab.errors import ConfigError

# Two ways to say one thing: an override of one takes the place of the other where a file has that.
RIVALS = {"num_bins": "dt", "dt": "num_bins", "tau_mem": "beta", "beta": "tau_mem", "tau_syn": "alpha", "alpha": "tau_syn"}

_ASSIGNMENT = re.compile(r"(?P<key>[A-Za-z_][\w.]*)=")


def mark_overrides(overrides: Sequence[str], groups: Collection[str]) -> list[str]:
    """Return the overrides with every plain `key=value` marked `++`, and rivals of what is set unset.

    Args:
        overrides: Overrides as typed; those with a prefix of Hydra's own, of `hydra.` and of groups stay as they are.
        groups: Names of the config groups.

    Raises:
        ConfigError: if both of two rivals are given.
    """
    keys = [_key(text) for text in overrides]
    marked = []
    for text, key in zip(overrides, keys, strict=True):
        plain = key is not None and text.startswith(key)
        marked.append(f"++{text}" if plain and key not in groups and not key.startswith("hydra.") else text)
    for key in filter(None, keys):
        head, _, leaf = key.rpartition(".")
        rival = f"{head}.{RIVALS[leaf]}" if head and leaf in RIVALS else None
        if rival in keys:
            raise ConfigError(f"{key}: give either {leaf} or {RIVALS[leaf]}, not both")
        if rival:
            marked.append(f"++{rival}=null")
    return marked


def _key(text: str) -> str | None:
    match = _ASSIGNMENT.match(text.lstrip("+"))
    return match["key"] if match else None
