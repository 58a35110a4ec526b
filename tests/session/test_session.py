"""A session builds each object of an experiment once, at the first access."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from snnlab.config.compose import compose_experiment
from snnlab.errors import ConfigError
from snnlab.nn.learning import BPTT
from snnlab.session import Session
from snnlab.session.computation import decide_computation
from snnlab.session.session import check_experiment

from ..refusals import assert_raises


@pytest.fixture(scope="module")
def digits_store(digits_folder: Path) -> str:
    return f"data.store_dir={digits_folder}"


@pytest.fixture
def session(digits_store: str, tmp_path: Path) -> Session:
    experiment, _ = compose_experiment([digits_store, "threads=1", "trainer.accelerator=cpu", "logger=null"], None)
    return Session(experiment, tmp_path)


def test_each_object_is_built_once_and_shared(session: Session) -> None:
    module = session.module
    assert module is session.module
    assert module.network is session.network is session.built.network
    assert module.loss is session.loss is session.loss_with_class_counts
    assert session.data.store is session.store


@pytest.mark.long  # of a process that imports torch
def test_the_network_is_built_without_data_or_lightning() -> None:
    code = (
        "import sys; from snnlab.config.compose import compose_experiment; from snnlab.session import Session;"
        "s = Session(compose_experiment(['data=nmnist', 'data.root=nowhere'], None)[0]);"
        "s.build('network', 'loss', 'optimization');"
        "print('lightning' in sys.modules, 'tonic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_two_sessions_of_one_experiment_begin_with_the_same_weights(session: Session) -> None:
    other = Session(session.experiment)
    torch.rand(3)  # other random numbers change nothing
    for name, value in session.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[name])


def test_a_mistake_of_a_callback_is_found_before_recordings_are_read(tmp_path: Path) -> None:
    chosen = ["callbacks=early_stopping", "callbacks.early_stopping.monitor=val/los"]
    experiment, folder = compose_experiment(["data=nmnist", "data.root=nowhere", *chosen], None)
    with assert_raises(ConfigError, "callbacks.early_stopping.monitor"):
        Session(experiment, folder).prepare()


def test_an_experiment_for_another_machines_gpu_is_checked_without_the_device(tmp_path: Path) -> None:
    experiment, folder = compose_experiment(["trainer.accelerator=gpu", "trainer.precision=16-mixed"], None)
    check_experiment(experiment, folder, here=False)
    if not torch.cuda.is_available():
        with assert_raises(ConfigError, "trainer"):
            check_experiment(experiment, folder, here=True)


def test_composed_takes_the_arguments_of_train_and_session_refuses_them() -> None:
    session = Session.composed("model=mlp_lif", {"model.layers.fc1.out_features": 7}, neuron={"tau_mem": 5.0})
    assert session.network.get_parameter("fc1.weight").shape[0] == 7
    assert session.experiment.model["layers"]["lif1"]["tau_mem"] == 5.0
    with pytest.raises(TypeError) as caught:
        Session("model=conv_lif")  # pyright: ignore[reportArgumentType]
    assert "Session.composed" in str(caught.value)


def test_a_decision_on_the_computation_changes_nothing_until_it_is_applied(digits_store: str, tmp_path: Path) -> None:
    small = [f"model.layers.conv{number}.out_channels=2" for number in (1, 2)]
    experiment, _ = compose_experiment([digits_store, "model=conv_lif", *small, "data.num_bins=40"], None)
    session = Session(experiment, tmp_path)
    network, data = session.network, session.data
    before = network.run_settings, data.allow_lists
    found = decide_computation(experiment, session.built, data, torch.device("cpu"))
    assert found.sparse_input
    assert (network.run_settings, data.allow_lists) == before
    found.apply(network, data, BPTT())
    assert (network.run_settings.sparse_input, data.allow_lists) == ("always", True)
    found._replace(sparse_input=False).apply(network, data, BPTT())
    assert (network.run_settings.sparse_input, data.allow_lists) == ("never", False)


def test_a_session_takes_the_data_of_another_one(session: Session) -> None:
    assert Session(session.experiment, data=session.data).data is session.data
