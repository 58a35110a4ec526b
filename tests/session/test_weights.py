"""Initial weights of a published run, and the digits of MNIST: told apart by their part and place, across datasets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from snnlab.safe_tensors import read_safe_tensors
from snnlab.session import Session
from snnlab.session.weights import find_trained_before

from ..published import unpacked


def test_a_training_begins_with_the_weights_of_a_published_run(tmp_path: Path) -> None:
    run = unpacked("yin_yang", tmp_path) / "runs/yin_yang/lif/11"
    network = Session.composed("experiment=yin_yang", f"init_from={run}").network
    stored, own = read_safe_tensors(run / "weights.safetensors"), network.state_dict()
    assert stored.keys() == own.keys()
    assert all(torch.equal(stored[name], value) for name, value in own.items())


@pytest.mark.long
def test_a_published_run_was_not_trained_on_what_its_split_tests_and_nothing_is_known_of_another(
    tmp_path: Path, store_dir: Path
) -> None:
    run = unpacked("yin_yang", tmp_path) / "runs/yin_yang/lif/2"
    own = ("experiment=yin_yang", f"init_from={run}", "seed=2", f"data.store_dir={store_dir}")
    same, other = (Session.composed(*own, *more) for more in ((), ("data.num_test=50", "data.num_train=100")))
    assert find_trained_before(same.experiment, same.data) == {"run": str(run), "val": 0, "test": 0}
    assert find_trained_before(other.experiment, other.data) == {"run": str(run), "val": None, "test": None}
