"""State dicts of SpikingJelly's spiking transformers, in the form of our blocks."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

# A projection that is one of three there and part of `qkv` here.
_PART = re.compile(r"(?P<block>(?:.*\.)?)(?P<part>[qkv])_(?P<layer>conv|bn)\.(?P<own>\w+)")
# QKFormer's embeddings and stages, which SpikingJelly registers one kind after the other.
_STAGE = re.compile(r"(?P<kind>patch_embed|stage)(?P<number>\d+)\.")


def in_order_of_use(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a transformer's layers in the order in which they are used, in the shapes of our layers.

    Projections `q_conv`, `k_conv`, `v_conv` and their norms become one `qkv_conv`. Convolutions of single tokens, which
    SpikingJelly applies to `[C, H * W]`, get a second axis of one cell where ours are applied to `[C, H, W]`. Other
    state dicts stay as they are.

    Args:
        tensors: The tensors of the file by name, in its order.
        own: The network's state dict.
    """
    found = _join_projections(tensors)
    if any(map(_STAGE.match, found)):
        found = dict(sorted(found.items(), key=lambda item: _position(item[0])))
    if any(value.dim() == 3 for value in own.values()):
        return found
    return {
        name: value[..., None] if value.dim() == 3 and value.shape[2] == 1 else value for name, value in found.items()
    }


def _join_projections(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        match = _PART.fullmatch(name)
        others = [] if match is None else [_name(match, part) for part in "qkv"]
        if match is None or not all(other in tensors for other in others):
            found[name] = value
        elif value.dim() == 0:  # the number of batches
            found.setdefault(_name(match, "qkv"), value)
        elif match["part"] == "q":
            found[_name(match, "qkv")] = torch.cat([tensors[other] for other in others])
    return found


def _name(match: re.Match[str], part: str) -> str:
    return f"{match['block']}{part}_{match['layer']}.{match['own']}"


def _position(name: str) -> tuple[int, bool]:
    """Return the stage of a tensor, the embedding before the blocks; the last layers are in none."""
    match = _STAGE.match(name)
    return (10**6, False) if match is None else (int(match["number"]), match["kind"] == "stage")
