"""Overrides of which later ones replace earlier ones: those of a suite, of a search, of a proposed fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from snnlab.config.catalogue import catalogue, rivals_at
from snnlab.config.compose import composed_values, plugins_of
from snnlab.config.folders import user_folder
from snnlab.config.overrides import data_rivals
from snnlab.config.recorded_run import recorded_config
from snnlab.spec.override_texts import key_of


def merge_overrides(
    overrides: Sequence[str], config_dir: str | Path | None = None, run: Path | None = None
) -> list[str]:
    """Return the overrides without those that a later one replaces: of the same setting, or one that it excludes.

    Args:
        overrides: In the order in which they count.
        config_dir: The user's folder of YAML files.
        run: The recorded run that they change; None: an experiment.
    """
    kept = _last(overrides, data_rivals)
    keys = [key_of(text) for text in kept if _sets(text)]
    heads = [key.rpartition(".")[0] for key in keys if key.split(".")[0] in ("neuron", "model") and "." in key]
    if len(set(heads)) == len(heads):  # no two of one node, which could exclude each other
        return kept
    found: Any = composed_values(kept, user_folder(config_dir)) if run is None else None
    values = OmegaConf.to_container(recorded_config(run), resolve=False) if run is not None else found
    assert isinstance(values, dict)
    return _last(kept, partial(_rivals, {str(key): node for key, node in values.items()}))


def _last(overrides: Sequence[str], rivals: Any) -> list[str]:
    replaced: set[str] = set()
    kept = []
    for text in reversed(overrides):
        if _sets(text):
            if (key := key_of(text)) in replaced:
                continue
            replaced |= {key, *rivals(key)}
        kept.append(text)
    return kept[::-1]


def _sets(text: str) -> bool:
    return "=" in text and not text.startswith(("+", "~"))


def _rivals(values: Mapping[str, Any], key: str) -> list[str]:
    known, neuron, model = catalogue(plugins_of(values)), values.get("neuron"), values.get("model") or {}
    return [f"{key.rpartition('.')[0]}.{rival}" for _, rival in rivals_at(known, neuron, model, key)]
