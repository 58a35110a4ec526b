"""A run that is killed and resumed ends as one that never was."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from . import killing

# Two of each kind of randomness, and little of everything else.
RUN = (
    "train",
    "model=mlp_lif",
    "model.layers.fc1.out_features=16",
    "+model.layers.drop={type: dropout, p: 0.3, after: lif1}",
    "data.num_bins=4",
    "data.batch_size=8",
    "data.augment=[{type: affine, shift: 2}]",
    "data.mix={type: eventmix, p: 0.5}",
    "trainer.max_epochs=3",
    "+trainer.limit_train_batches=6",
    "+trainer.limit_val_batches=2",
    "+trainer.limit_test_batches=2",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
    "threads=1",
    "pictures=null",
    "plugins=[tests.commands.killing]",
    "+callbacks.kill={_target_: tests.commands.killing.Kill}",
    "checkpoint_every_s=0",
)
BATCHES, EPOCHS = 6, 3


def trained(folder: Path, arguments: tuple[str, ...], place: str = "") -> Path:
    """Train, with a kill at a place; return the run's folder."""
    code = killing.run([*RUN, f"output_dir={folder}", *arguments], folder.with_suffix(".log"), place)
    assert code == (-9 if place else 0), folder.with_suffix(".log").read_text()
    (config,) = folder.glob("*/*/config.yaml")
    return config.parent


def resumed(run: Path, *arguments: str, place: str = "") -> Path:
    log = run.parent / "resumed.log"
    code = killing.run(["train", f"resume={run}", *arguments], log, place)
    assert code == (-9 if place else 0), log.read_text()
    return run


def assert_same(one: Path, other: Path) -> None:
    """Compare the weights, every figure and every prediction of two runs."""
    assert (one / "metrics.csv").read_text() == (other / "metrics.csv").read_text()
    for name in ("best", "last"):
        states = [torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True) for run in (one, other)]
        weights = [state["state_dict"] for state in states]
        assert weights[0].keys() == weights[1].keys()
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0]), name
        assert states[0]["epoch"] == states[1]["epoch"]
    predictions = [dict(np.load(run / "predictions.npz")) for run in (one, other)]
    assert predictions[0].keys() == predictions[1].keys()
    assert all(np.array_equal(predictions[0][key], predictions[1][key]) for key in predictions[0])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Path:
    """Return a run that nothing interrupted."""
    return trained(tmp_path_factory.mktemp("whole") / "run", (digits_store,))


PLACES = {
    "the first batch": "batch:0:0",
    "the last batch of an epoch": f"batch:1:{BATCHES - 1}",
    "between two epochs": "start:1",
    "a validation": "validation:1",
    "the end of an epoch": "end:1",
    "the end of the last epoch": f"end:{EPOCHS - 1}",
    "the end of the training": "over",
    "saving": "saving:12",
    **{f"a batch at random ({n})": f"batch:{n}:{random.Random(n).randrange(BATCHES)}" for n in range(EPOCHS)},
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_killed_at(tmp_path: Path, digits_store: str, whole: Path, place: str, workers: int):
    run = trained(tmp_path / "run", (digits_store, f"data.num_workers={workers}"), place)
    assert_same(resumed(run), whole)
