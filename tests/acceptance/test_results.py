"""The accuracy of the defaults after a full training; minutes each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from snnlab import train

pytestmark = pytest.mark.slow


def test_the_embedded_default_reaches_97_percent_on_its_test_recordings(workplace: Path, digits_store: str):
    assert train(digits_store, "trainer.accelerator=cpu").metrics["test/accuracy"] >= 0.97


def test_700_genuine_recordings_of_nmnist_reach_87_percent(workplace: Path, real_data: Path):
    data = ("data=nmnist", f"data.root={real_data}", "data.download=false", "data.store_dir=store")
    assert train("model=conv_lif", *data, "trainer.accelerator=cpu").metrics["test/accuracy"] >= 0.87


def test_an_epoch_of_the_default_gives_the_same_weights_twice(workplace: Path, digits_store: str):
    short = ("trainer.max_epochs=1", "+trainer.limit_train_batches=20", "test=false", "trainer.accelerator=cpu")
    folders = [train(digits_store, *short).folder for _ in range(2)]
    one, again = (torch.load(f / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for f in folders)
    assert all(torch.equal(one[key], again[key]) for key in one)
