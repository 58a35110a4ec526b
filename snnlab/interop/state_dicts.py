"""Weights of other PyTorch projects: state dicts that are read without executing anything, and renamed to our layers.

`snnlab.torch_files` reads a file: its values are mapped, not read, and shapes are compared before values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError, DataError, did_you_mean, join_names
from snnlab.interop.layer_order import Target, number_text, stored_value
from snnlab.interop.snntorch import match_snntorch
from snnlab.interop.spikingjelly import match_spikingjelly
from snnlab.nn.network import Network
from snnlab.nn.neurons.base import Neuron
from snnlab.printable import is_printable, printable
from snnlab.torch_files import read_torch_file

# A message lists no more names than this.
_MOST_NAMES = 6

# A table of names, or whose names they are: the layers are matched in order then.
Rename = Mapping[str, Any] | Literal["spikingjelly", "snntorch"]
_LIBRARIES = {"spikingjelly": match_spikingjelly, "snntorch": match_snntorch}


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a file of `torch.save` by name: a state dict, or a checkpoint that contains one.

    Nothing in the file is executed. The tensors are mapped from the file, so that their values are read at the first
    use.

    Args:
        path: The file.

    Raises:
        DataError: if it is missing, damaged, or contains anything but tensors and plain values.
    """
    path = Path(path).expanduser()
    tensors = _tensors(path, read_torch_file(path))
    for name, value in tensors.items():
        if not is_printable(name):
            raise DataError(path, f"a name in it has control characters: {printable(name)}")
        if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
            raise DataError(path, f"{name} is not a dense tensor")
    return tensors


def _tensors(path: Path, content: Any) -> dict[str, Tensor]:
    """Return the tensors of a state dict, or those of the only state dict in a checkpoint."""
    if _is_state_dict(content):
        return dict(content)
    entries = content.items() if isinstance(content, Mapping) else ()
    found = {str(key): value for key, value in entries if _is_state_dict(value)}
    if len(found) == 1:
        return dict(next(iter(found.values())))
    several = f"contains several: {printable(join_names(found))}" if found else "contains no tensors by name"
    raise DataError(path, f"is not a state dict: it {several}")


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) and isinstance(one, Tensor) for name, one in value.items())
    )


class Loaded(NamedTuple):
    """What `load_state_dict` did.

    Attributes:
        weights: Tensors of the network that were replaced: all of them.
        values: Their number of values.
        checked: Names in the file of the numbers that are equal to a setting of the network.
        unused: Names in the file that the table maps to null.
        cast: Names in the file of the tensors whose type was converted, with their type.
    """

    weights: int
    values: int
    checked: tuple[str, ...]
    unused: tuple[str, ...]
    cast: Mapping[str, str]


def load_state_dict(network: Network, path: str | Path, rename: Rename | None = None) -> Loaded:
    """Replace all weights of a network by those of another project's file.

    Args:
        network: The network; it is not changed if an error is raised.
        path: A file of `torch.save`, see `read_state_dict`.
        rename: Names in the file, or their first parts, to names of the network: `{features.0: conv1}` loads
            `features.0.weight` as `conv1.weight`, `{module: ""}` drops a first part, and `{fc: {weight: out.weight}}`
            is `{fc.weight: out.weight}`. The columns of `{joined: [fc.weight, lif1.feedback.weight]}` are those of
            both, in this order. A number that is a setting here, such as `{lif1.threshold: lif1.v_threshold}`, must be
            equal to it in the file's precision; one that is learned, or has a value for each neuron, is loaded, in the
            unit of the setting. All values of `{lif1.mask: 1}` must be 1, and null is not used. Other names are the
            network's own. Or `spikingjelly` or `snntorch`: the n-th layer of each type in the file is the n-th
            here, see `snnlab.interop.layer_order`.

    Raises:
        DataError: if the file cannot be read, or its tensors do not fit the network.
    """
    path = Path(path).expanduser()
    tensors = read_state_dict(path)
    own = network.state_dict()
    if isinstance(rename, str):
        if rename not in _LIBRARIES:
            raise ConfigError("rename", f"expected a table of names, spikingjelly or snntorch, got {rename!r}")
        tensors, targets = _LIBRARIES[rename](path, tensors, network)
    else:
        tensors, table = _split_columns(path, tensors, dict(_flat_table(rename or {})), own)
        tensors, targets = _stored_settings(path, tensors, _targets(tensors, table), network)
    _require_all(path, own, targets)
    weights, checked, cast = dict[str, Tensor](), [], {}
    for name, value in tensors.items():
        target = targets[name]
        if isinstance(target, str) and target in own:
            weights[target] = _fitting_value(path, name, value, target, own[target])
            if value.dtype != own[target].dtype:
                cast[name] = _type_text(value)
        elif target is not None:
            _require_number(path, name, value, target, network)
            checked.append(name)
    network.load_state_dict(weights)
    unused = tuple(name for name, target in targets.items() if target is None)
    return Loaded(len(weights), sum(value.numel() for value in weights.values()), tuple(checked), unused, cast)


def _flat_table(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Target | list[str]]]:
    for key, value in table.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            yield from _flat_table(value, f"{name}.")
        elif value is None or isinstance(value, str | int | float) or _are_names(value):
            yield name, value
        else:
            raise ConfigError(f"rename.{name}", f"expected a name, a list of names, a number or null, got {value!r}")


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(part, str) for part in value)


def _split_columns(
    path: Path, tensors: Mapping[str, Tensor], table: Mapping[str, Target | list[str]], own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Target]]:
    """Return the tensors and the table with the columns of joined weights as tensors of their own."""
    found, plain = dict(tensors), dict[str, Target]()
    for name, parts in table.items():
        if not isinstance(parts, list):
            plain[name] = parts
            continue
        if absent := next((part for part in parts if part not in own), None):
            raise ConfigError(f"rename.{name}", f"this network has no {absent}", did_you_mean(absent, own))
        if name not in found:
            _refuse_name(name, tensors)
        value, widths = found.pop(name), [own[part].shape[-1] for part in parts]
        if value.dim() != 2 or value.shape[1] != sum(widths):
            have = f"{join_names(parts)} have {sum(widths)} columns"
            raise DataError(path, f"{name} has shape {list(value.shape)}, and {have}")
        for part, columns in zip(parts, value.split(widths, 1), strict=True):
            found[f"{name}, columns of {part}"], plain[f"{name}, columns of {part}"] = columns, part
    return found, plain


def _stored_settings(
    path: Path, tensors: Mapping[str, Tensor], targets: Mapping[str, Target], network: Network
) -> tuple[dict[str, Tensor], dict[str, Target]]:
    """Return tensors and targets with the values of settings that are learned, or per neuron, as the network's own."""
    found, renamed = dict(tensors), dict(targets)
    modules = dict(network.named_modules())
    for name, target in targets.items():
        layer, _, setting = target.rpartition(".") if isinstance(target, str) else ("", "", "")
        module = modules.get(layer)
        quantity = module.stored_quantity(setting) if isinstance(module, Neuron) else None
        if quantity is not None:
            renamed[name] = f"{layer}.{quantity.key}"
            found[name] = stored_value(path, name, tensors[name], quantity)
    return found, renamed


def _targets(tensors: Mapping[str, Tensor], table: Mapping[str, Target]) -> dict[str, Target]:
    """Return the name in the network of each tensor of the file."""
    targets: dict[str, Target] = {}
    used = set()
    for name in tensors:
        prefix = max((known for known in table if f"{name}.".startswith(f"{known}.")), key=len, default=None)
        if prefix is not None:
            used.add(prefix)
            new = table[prefix]
            targets[name] = f"{new}{name.removeprefix(prefix)}".lstrip(".") if isinstance(new, str) else new
        else:
            targets[name] = name
    for name in table:
        if name not in used:
            _refuse_name(name, tensors)
    return targets


def _refuse_name(name: str, tensors: Mapping[str, Tensor]) -> NoReturn:
    hint = did_you_mean(name, tensors) or f"it has {_names_text(list(tensors))}"
    raise ConfigError(f"rename.{name}", "names nothing in the file", hint)


def _require_all(path: Path, own: Mapping[str, Tensor], targets: Mapping[str, Target]) -> None:
    """Raise an error if tensors of the network are not in the file, or twice."""
    named = Counter(target for target in targets.values() if isinstance(target, str))
    missing = [name for name in own if name not in named]
    if missing:
        others = [name for name, target in targets.items() if isinstance(target, str) and target not in own]
        hint = f"model.weights.rename maps its names: {_names_text(others)}" if others else ""
        if all(name.endswith(".bias") for name in missing):
            hint = "set bias: false for layers that have none there"
        raise DataError(path, f"has no {_names_text(missing)} ({len(missing)} of {len(own)} tensors)", hint)
    if twice := next((name for name, count in named.items() if count > 1), None):
        sources = [name for name, target in targets.items() if target == twice]
        raise DataError(path, f"{join_names(sources)} are both {twice}")


def _fitting_value(path: Path, name: str, value: Tensor, target: str, own: Tensor) -> Tensor:
    """Return a tensor in the network's type; raise an error unless shape and kind are equal and it is finite there."""
    as_ours = "" if name == target else f" ({target})"
    if value.shape != own.shape:
        raise DataError(path, f"{name}{as_ours} has shape {list(value.shape)}, and this network's {list(own.shape)}")
    if value.is_floating_point() != own.is_floating_point() or value.is_complex():
        raise DataError(path, f"{name}{as_ours} has type {_type_text(value)}, and this network's {_type_text(own)}")
    converted = value.to(own.dtype)
    if not bool(torch.isfinite(converted).all()):
        raise DataError(path, f"{name}{as_ours} has NaN or infinite values as {_type_text(converted)}")
    return converted


def _require_number(path: Path, name: str, value: Tensor, target: str | float, network: nn.Module) -> None:
    """Raise an error unless all values of a tensor are a number, or a setting of the network."""
    if isinstance(target, str):
        layer, _, setting = target.rpartition(".")
        try:
            expected = getattr(network.get_submodule(layer), setting)
        except AttributeError:
            expected = None
        if isinstance(expected, bool) or not isinstance(expected, int | float):
            as_ours = "" if name == target else f" ({target})"
            raise DataError(path, f"{name}{as_ours} is not in this network", "map it to null to leave it out")
    else:
        expected = target
    stored = value.untyped_storage().nbytes() // value.element_size()
    if value.numel() != 1 and (isinstance(target, str) or not 0 < value.numel() <= stored):
        raise DataError(path, f"{name} has {value.numel():,} values, expected the number {expected:g}")
    if (other := value[value != torch.tensor(expected, dtype=value.dtype)]).numel():
        number = number_text(other)
        fix = f"set model.layers.{target}={number}" if isinstance(target, str) else ""
        raise DataError(path, f"{name} is {number}, expected {expected:.9g}", fix)


def _type_text(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _names_text(names: list[str]) -> str:
    shown = [printable(name) for name in names[:_MOST_NAMES]]
    return join_names([*shown, *(["..."] if len(names) > _MOST_NAMES else [])])


def loaded_text(loaded: Loaded, path: str | Path, sha256: str) -> str:
    """Return what was loaded as a log line."""
    more = [f"numbers that equal their settings: {len(loaded.checked)}"] if loaded.checked else []
    more += [f"not used: {_names_text(list(loaded.unused))}"] if loaded.unused else []
    more += (
        [f"converted: {join_names(f'{name} ({kind})' for name, kind in loaded.cast.items())}"] if loaded.cast else []
    )
    what = f"loaded {loaded.weights} tensors, {loaded.values:,} values, from {path} (sha256 {sha256[:12]})"
    return "; ".join([what, *more])
