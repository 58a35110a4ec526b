"""What the user types after `snnlab train`, made ready for Hydra.

Hydra refuses a setting that the YAML does not spell out, such as `model.layers.lif1.tau_mem=5`. Values are therefore
marked `++`, and whoever builds the object finds the typos, with the place and the likely meant word.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from snnlab.errors import ConfigError

# Two ways to say one thing: an override of one takes the place of the other where a file has that.
TIME_RIVALS = {"num_bins": "dt", "dt": "num_bins"}
NEURON_RIVALS = {"tau_mem": "beta", "beta": "tau_mem", "tau_syn": "alpha", "alpha": "tau_syn"}

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
    keys = {match["key"] for text in overrides if (match := _ASSIGNMENT.match(text.lstrip("+")))}
    marked = [_mark(text, groups) for text in overrides]
    for key in sorted(keys):
        rival = _rival(key)
        if rival in keys:
            raise ConfigError(f"{key}: give either this or {rival}, not both")
        if rival:
            marked.append(f"++{rival}=null")
    return marked


def _mark(text: str, groups: Collection[str]) -> str:
    match = _ASSIGNMENT.match(text)
    if not match or match["key"].startswith("hydra."):
        return text
    if match["key"] in groups:
        return f"~{match['key']}" if match["value"] == "null" else text
    return f"++{text}"


def _rival(key: str) -> str | None:
    head, _, leaf = key.rpartition(".")
    table = TIME_RIVALS if head == "data" else NEURON_RIVALS if head.split(".")[0] in ("neuron", "model") else {}
    return f"{head}.{table[leaf]}" if leaf in table else None
