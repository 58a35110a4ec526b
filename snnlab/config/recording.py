"""What is recorded of a composed experiment: values, but no secrets.

A text out of the environment is recorded as what asked for it, `${oc.env:NAME}`, and asked for again when the run's own
user opens it: a record is there to be shared. Numbers, and where things lie, are recorded as they are, so that
`seed: ${oc.decode:${oc.env:SLURM_ARRAY_TASK_ID}}` can be repeated. Passwords in addresses are masked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from typing import Any

from snnlab.config.references import texts
from snnlab.masking import masked

# References that stay in a run's config.yaml, so that a later change of what they point to is followed.
KEPT_REFERENCES = ("${data.", "${trainer.")
# Where things lie: the record of a run is of no use without.
PLACES = ("output_dir", "init_from", "data.root", "data.store_dir", "data.labels", "data.split_file")
_VARIABLE = re.compile(r"oc\.env:\s*['\"]?(\w+)")


def recorded(raw: Mapping[str, Any], resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment as a run's `config.yaml` will hold it.

    Args:
        raw: The experiment with its references.
        resolved: The same, resolved.
    """
    names = {name for _, text in texts(raw) for name in _VARIABLE.findall(text)}
    secrets = [value for name in names if (value := os.environ.get(name)) and not _is_number(value)]
    return {key: _recorded(value, resolved[key], key, secrets) for key, value in raw.items()}


def _recorded(raw: Any, resolved: Any, place: str, secrets: Collection[str]) -> Any:
    if isinstance(raw, dict):
        return {key: _recorded(value, resolved[key], f"{place}.{key}", secrets) for key, value in raw.items()}
    if isinstance(raw, list):
        return [_recorded(a, b, place, secrets) for a, b in zip(raw, resolved, strict=True)]
    if not isinstance(raw, str):
        return resolved
    if raw.startswith(KEPT_REFERENCES):
        return raw
    if not isinstance(resolved, str):
        return _without(resolved, raw, secrets)
    out_of_environment = "${" in raw and any(value in resolved for value in secrets)
    return raw if out_of_environment and place not in PLACES else masked(resolved)


def _without(resolved: Any, raw: str, secrets: Collection[str]) -> Any:
    """Return what a reference to several values came to, or itself where one of them is out of the environment."""
    return raw if any(value in text for _, text in texts(resolved) for value in secrets) else resolved


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.lower() in ("true", "false", "null")
    return True
