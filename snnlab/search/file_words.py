"""What the file of a sweep or a suite may say: nothing by which it would run code; that is for the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from snnlab.errors import ConfigError
from snnlab.settings import key_of

# What sets Hydra up, whatever stands before or behind it, and what names code.
_CODE = re.compile(r"(?<![\w-])hydra(?![\w-])|^plugins(?![\w-])")
# What a queue is asked for: how much, how long, where. Others are commands, or go into scripts as they stand.
_ASKED = re.compile(
    r"cluster|name|nodes|timeout_min|mem_gb|stderr_to_stdout|(cpus|gpus|tasks)_per_(node|task)"
    r"|slurm_(partition|qos|account|constraint|gres|time|mem|mem_per_(cpu|gpu|node)|nodes|ntasks_per_node|exclusive"
    r"|cpus_per_(task|gpu)|gpus_per_(node|task)|array_parallelism|exclude|nodelist|max_num_timeout|signal_delay_s|wckey)"
)
_PLAIN = re.compile(r"[\w.,:@%+*&|()\[\]-]*")


def names_code(override: str) -> bool:
    """Return whether an override, or the name of a setting, is of what runs code."""
    return _CODE.search(key_of(override)) is not None


def require_plain_queue(settings: Any, place: str) -> None:
    """Refuse parameters of a cluster's queue that are commands, or could become some in its scripts.

    Args:
        settings: What a file says of submitit.
        place: Where that stands.

    Raises:
        ConfigError: naming the first one.
    """
    for name, value in settings.items() if isinstance(settings, Mapping) else ():
        plain = (
            value is None
            or isinstance(value, bool | int | float)
            or (isinstance(value, str) and _PLAIN.fullmatch(value))
        )
        if not _ASKED.fullmatch(str(name)) or not plain:
            raise ConfigError(f"{place}.{name}", "a file does not say this to a queue", "the command line can")
