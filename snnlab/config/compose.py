"""Check what Hydra composed, and resolve it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from snnlab.config.hydra_errors import explain
from snnlab.config.layers import expand_layers
from snnlab.config.recording import recorded
from snnlab.config.references import outside
from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError, UnsetError
from snnlab.settings import ROOT, check_settings


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn what Hydra, OmegaConf and YAML raise inside into a ConfigError."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        plain = explain(error)
        if plain is None:
            raise
        raise plain from error


def run_name(name: str | None, choices: Mapping[str, Any]) -> str:
    """Return the name of an experiment: its own, or that of its model and its data."""
    return name or f"{choices.get('model')}_{choices.get('data')}"


# For hydra.run.dir, which is needed before our own code sees the configuration.
OmegaConf.register_new_resolver("run_name", run_name, replace=True)


def check(cfg: DictConfig, sources: Sequence[Path], choices: Mapping[str, Any]) -> Experiment:
    """Check a composed configuration and return it resolved.

    Args:
        cfg: What Hydra composed, without its `hydra` node.
        sources: Folders of YAML files, first match first.
        choices: Names of the chosen files, by group.

    Raises:
        ConfigError: for the first mistake found.
    """
    with readable_errors():
        raw = _plain(cfg, resolve=False)
        neuron, model = raw.pop("neuron", None), raw.get("model")
        if not isinstance(model, Mapping) or not isinstance(model.get("layers"), Mapping) or not model["layers"]:
            raise ConfigError("model.layers: expected named layers, such as {out: {type: linear, out_features: 10}}")
        neuron = _resolve_alone(cfg, neuron)
        raw["model"] = {**model, "layers": expand_layers(model["layers"], neuron)}
        for group in ("experiment", "debug"):  # their files have set what they set
            raw.pop(group, None)
        _settle_time(raw, sources, choices)
        raw["name"] = run_name(raw.get("name"), choices)
        _require_values(raw)
        _require_written_addresses(raw)
        resolved = _plain(OmegaConf.create(raw), resolve=True)
    check_settings(Experiment, resolved, ROOT, "an experiment", given=("record", "neuron", "origin", "of_run"))
    if resolved["seed"] < 0:
        raise ConfigError(f"seed: must be 0 or more, got {resolved['seed']}")
    if unknown := resolved["model"].keys() - {"layers", "init"}:
        raise ConfigError(f"model: takes layers and init, got {', '.join(sorted(unknown))}")
    ordered = {f.name: resolved[f.name] for f in fields(Experiment) if f.name in resolved}
    return Experiment(**ordered, neuron=neuron, record=recorded(raw, resolved))


def _require_values(raw: dict[str, Any]) -> None:
    """Refuse a `???`, by which a file leaves a value to its user, before anything refers to it."""
    if missing := sorted(_unset(raw)):
        have = "has" if len(missing) == 1 else "have"
        raise UnsetError(f"{', '.join(missing)} {have} no value; set {' '.join(f'{name}=...' for name in missing)}")


def _require_written_addresses(raw: Mapping[str, Any]) -> None:
    """Refuse an address that would tell whoever is asked there what stands in the environment."""
    data = raw.get("data")
    for place, _ in outside(data.get("archives"), "data.archives") if isinstance(data, Mapping) else ():
        raise ConfigError(f"{place}: an address is written out, and holds nothing of the environment")


def _unset(node: Any, place: str = "") -> Iterator[str]:
    if node == "???":
        yield place
    elif isinstance(node, Mapping):
        for name, value in node.items():
            yield from _unset(value, f"{place}.{name}" if place else str(name))


def _plain(cfg: DictConfig, *, resolve: bool) -> dict[str, Any]:
    container = OmegaConf.to_container(cfg, resolve=resolve, throw_on_missing=resolve)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _resolve_alone(cfg: DictConfig, neuron: Any) -> dict[str, Any] | None:
    """Return the neuron with its references resolved, since its node will not be there any more."""
    if neuron is None:
        return None
    node = OmegaConf.to_container(cfg.neuron, resolve=True)
    if not isinstance(node, dict):
        raise ConfigError(f"neuron: expected a mapping such as {{type: lif}}, got {node!r}")
    return {str(key): value for key, value in node.items()}


def _settle_time(raw: dict[str, Any], sources: Sequence[Path], choices: Mapping[str, Any]) -> None:
    """Let a `dt` or `num_bins` of an experiment take the place of the other one in the data file."""
    data = raw.get("data")
    if not isinstance(data, dict) or data.get("num_bins") is None or data.get("dt") is None:
        return
    in_file = _set_times(_load(sources, "data", choices.get("data")))
    in_experiment = _set_times((_load(sources, "experiment", choices.get("experiment")) or {}).get("data"))
    if len(in_file) != 1 or len(in_experiment) == 2:
        raise ConfigError("data: give either num_bins or dt (ms), not both")
    data[in_file.pop()] = None


def _set_times(node: Any) -> set[str]:
    return {key for key in ("num_bins", "dt") if isinstance(node, Mapping) and node.get(key) is not None}


def _load(sources: Sequence[Path], group: str, choice: str | None) -> Any:
    for folder in sources:
        path = folder / group / f"{choice}.yaml"
        if path.is_file():
            return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    return None
