"""The files of a run without the folders of this machine, as others may see them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from snnlab.printable import map_texts

DATA_ROOT = "${oc.env:SNNLAB_DATA,data}"  # as in the packaged YAML files
_FOLDER = re.compile(r"(?<![\w.~/}])~?/[\w.+-]+(?:/[\w.+-]+)+")


def public_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's configuration without the folders of this machine."""
    data = {**config["data"], "store_dir": None}
    if "root" in data:
        data["root"] = DATA_ROOT
    return {**config, "output_dir": "outputs", "data": data}


def public_result(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's result without the folders of this machine."""
    return map_texts(dict(content), public_text)


def public_text(text: str) -> str:
    """Return a text with FOLDER in place of absolute paths."""
    return _FOLDER.sub("FOLDER", text)
