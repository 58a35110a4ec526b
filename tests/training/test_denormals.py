"""Trainings and tests take denormal numbers for zeros, and leave the process as it was."""

from __future__ import annotations

from collections.abc import Iterator

import lightning as L
import pytest
import torch
from torch import Tensor

from snnlab.threads import flush_denormals, flushes_denormals
from snnlab.training.denormals import FlushDenormals


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    flush_denormals(False)


def denormals_left(size: int = 2**20) -> int:
    """Return how many products of a large tensor, computed by all threads of torch, are denormal numbers."""
    return int((torch.full((size,), 1e-30) * 1e-9).count_nonzero())


class OneWeight(L.LightningModule):
    """A module that notes at each step whether denormal numbers are flushed."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.weight, self.fails, self.seen = torch.nn.Parameter(torch.ones(1)), fails, []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.seen.append(flushes_denormals())
        if self.fails:
            raise ValueError("a mistake in the step")
        return (self.weight * batch[0]).sum()

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.seen.append(flushes_denormals())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer() -> L.Trainer:
    """Return a trainer of one batch, without files."""
    return L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[FlushDenormals()],
    )


def data() -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(2, 1)))


def test_all_threads_flush_denormals_and_stop_to() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert denormals_left() == 2**20
        flush_denormals(True)
        assert denormals_left() == 0
        flush_denormals(False)
        assert denormals_left() == 2**20
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("before", [False, True])
def test_training_and_test_flush_and_restore_the_setting(before: bool) -> None:
    flush_denormals(before)
    module = OneWeight()
    trainer().fit(module, data())
    trainer().test(module, data(), verbose=False)
    assert module.seen == [True] * 4
    assert flushes_denormals() is before


def test_a_failed_training_restores_the_setting() -> None:
    module = OneWeight(fails=True)
    with pytest.raises(ValueError, match="mistake"):
        trainer().fit(module, data())
    assert module.seen == [True]
    assert not flushes_denormals()
