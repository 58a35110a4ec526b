"""The zoo's networks learn a batch of recordings in the file format of their dataset in 20 steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from snnlab.session import Session

from ..cli.genuine import WRITERS
from .networks import NETWORKS

STEPS = 20
SMALL = ("data.batch_size=3", "data.download=false", "trainer.accelerator=cpu")
# No recordings of events have three colours, or a thousand classes.
RESNETS = ("sew_resnet18", "sew_resnet34", "sew_resnet50")
TRANSFORMERS = ("spikformer", "qkformer", "spike_driven_transformer")
WORDS = {name: network.words for name, network in NETWORKS.items()}
WORDS |= {name: ("data=cifar10dvs", f"model={name}") for name in RESNETS + TRANSFORMERS}
FAST = {"mlp_adlif_small"}
# Steps of a recording, and learning rate: of networks of few neurons those of their authors.
FEW = (3, 0.002)
SETTINGS = {
    "neurobench_gesture": (20, 0.01),
    **dict.fromkeys(("mlp_radlif", "mlp_adlif", "mlp_adlif_small"), (40, 0.01)),
    **dict.fromkeys([name for name in WORDS if name.startswith("dcls")], (140, 0.001)),  # their delays are up to 240 ms
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in FAST else pytest.mark.slow) for name in WORDS]
)
def test_it_learns_a_batch_of_its_dataset(name: str, tmp_path: Path, store_dir: Path) -> None:
    num_bins, rate = SETTINGS.get(name, FEW)
    words = [word for word in WORDS[name] if not word.startswith("data.root")]
    words += [f"data.root={tmp_path}", f"data.store_dir={store_dir}", f"data.num_bins={num_bins}", *SMALL]
    session = Session.composed(*words)
    WRITERS[session.experiment.data["type"]](tmp_path, np.random.default_rng(0))
    batch, network = session.data.first_batch(torch.device("cpu")), session.network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    losses = []
    for _ in range(STEPS):
        counts: dict[str, torch.Tensor] = {}
        y, _ = network(batch.x, lengths=batch.lengths, counts=counts)
        loss, _ = session.loss(y, batch.targets, batch.lengths, counts)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4]), losses
