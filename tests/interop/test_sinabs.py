"""The example of docs/nir.md: Sinabs, from a NIR graph, has every spike of the network."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from ..pages import BLOCKS


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")  # those of nirtorch
@pytest.mark.skipif(find_spec("sinabs") is None, reason="sinabs is not installed")
def test_the_page_takes_a_network_to_sinabs_with_every_spike() -> None:
    (block,) = [one for one in BLOCKS if one.page == Path("docs/nir.md") and "from sinabs" in one.text]
    torch.manual_seed(0)
    names: dict[str, torch.Tensor] = {}
    exec(block.text, names)
    assert names["spikes"].sum() > 100
    assert torch.equal(names["spikes"][:, 0], names["same"])
