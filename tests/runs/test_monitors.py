"""Monitors log layer statistics and do not change the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

from snnlab.data.events.frames import Batch, Mix
from snnlab.errors import ConfigError
from snnlab.runs import monitors
from snnlab.runs.monitors import Monitors, first_recordings, measure_batch
from snnlab.training.module import SpikingModule

from ..refusals import assert_raises, assert_text_has
from .conftest import Fit, reload

OF_NEURONS = {
    *("input_gradient", "output_gradient", "rate_hz", "spikes_per_step", "silent", "saturated", "largest_membrane"),
    *("surrogate_passes", "weights", "weight_gradient", "update"),
}
OF_OUTPUT = {"input_gradient", "output_gradient", "weights", "weight_gradient", "update"}


def _outcome(fit: Fit, *callbacks: L.Callback, **settings: Any) -> tuple[dict[str, Any], list[bool], Any, Any]:
    trainer, module = fit(*callbacks, max_epochs=3, **settings)
    modes = [part.training for part in module.modules()]
    return module.state_dict(), modes, torch.get_rng_state(), dict(trainer.callback_metrics)


@pytest.mark.long
@pytest.mark.parametrize("settings", [{}, {"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}], ids=str)
def test_training_is_the_same_bit_for_bit_with_and_without(fit: Fit, settings: dict[str, Any]) -> None:
    plain, monitored = (_outcome(fit, *more, **settings) for more in ((), (Monitors(every_steps=1, every_epochs=1),)))
    assert plain[0].keys() == monitored[0].keys()
    assert all(torch.equal(plain[0][key], monitored[0][key]) for key in plain[0])
    assert plain[1] == monitored[1]
    assert torch.equal(plain[2], monitored[2])
    assert plain[3] == monitored[3]


def test_each_layer_is_measured_every_few_steps(tmp_path: Path, fit: Fit) -> None:
    fit(Monitors(every_steps=2, every_epochs=2), max_epochs=3)
    events = reload(tmp_path)
    wanted = {f"monitors/{what}/{layer}" for layer in ("lif", "cuba") for what in OF_NEURONS}
    wanted |= {f"monitors/{what}/out" for what in OF_OUTPUT}
    found = {tag for tag in events.Tags()["scalars"] if tag.startswith("monitors/")}
    assert found == wanted
    assert all([scalar.step for scalar in events.Scalars(tag)] == [0, 2, 4] for tag in found)
    for layer, neurons in (("lif", 8), ("cuba", 6)):
        histograms = events.Histograms(f"monitors/membrane/{layer}")
        assert [histogram.step for histogram in histograms] == [0, 2, 4]
        assert all(histogram.histogram_value.num == 6 * 4 * neurons for histogram in histograms)
    assert [image.step for image in events.Images("monitors/input_gradient")] == [2, 4]


class GradientRecorder(L.Callback):
    """Saves weights and gradients around the first step."""

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step == 0:
            weight = pl_module.network.fc2.weight
            bias = pl_module.network.fc2.bias
            self.before = torch.cat([weight.detach().flatten(), bias.detach()])
            self.gradient = torch.cat([weight.grad.flatten(), bias.grad])


def test_gradient_and_update_are_those_of_the_training_step(tmp_path: Path, fit: Fit) -> None:
    recorder = GradientRecorder()
    fit(Monitors(), recorder)
    events = reload(tmp_path)
    values = {
        what: events.Scalars(f"monitors/{what}/cuba")[0].value for what in ("weights", "weight_gradient", "update")
    }
    size, gradient = float(recorder.before.norm()), float(recorder.gradient.norm())
    assert values["weights"] == pytest.approx(size, rel=1e-5)
    assert values["weight_gradient"] == pytest.approx(gradient, rel=1e-5)
    assert values["update"] == pytest.approx(0.1 * gradient / size, rel=1e-4)  # SGD with a rate of 0.1


def test_without_a_logger_nothing_is_measured(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    monkeypatch.setattr(monitors, "measure_batch", lambda *given: looked.append(given))
    trainer, _ = fit(Monitors(every_steps=1), logger=False)
    assert trainer.global_step > 0
    assert not looked


class MeasureTwice(L.Callback):
    """Measures twice, the second time with recomputation."""

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        assert isinstance(pl_module, SpikingModule)
        torch.manual_seed(0)
        x = (torch.rand(6, 4, 2, 4, 5) < 0.5).float()
        batch = Batch(x, torch.tensor([6, 6, 3, 6]), torch.tensor([0, 1, 2, 0]), torch.arange(4))
        once = measure_batch(trainer, pl_module, batch, 2.0)
        pl_module.network.configure(checkpoint_segments=3)
        again = measure_batch(trainer, pl_module, batch, 2.0)
        assert once is not None
        assert again is not None
        self.seen = once, again


def test_recomputation_does_not_change_the_statistics(fit: Fit) -> None:
    looks = MeasureTwice()
    fit(looks)
    assert looks.seen[0] == looks.seen[1]
    assert len(looks.seen[0].layer("lif").drive_gradient) == 6


def test_the_first_recordings_keep_their_targets_and_lengths() -> None:
    x, lengths, index = torch.rand(5, 4, 2), torch.tensor([5, 4, 3, 2]), torch.arange(4)
    mixed = Batch(x, lengths, torch.arange(4), index, Mix(torch.arange(4), torch.rand(4)))
    first = first_recordings(mixed, 3)
    assert first.x.shape == (5, 3, 2)
    assert first.mix is not None
    assert [len(part) for part in (first.lengths, first.targets, first.index, *first.mix)] == [3] * 5
    assert first_recordings(Batch(x, lengths, torch.rand(4, 2), index), 3).targets.shape == (3, 2)
    labels = torch.from_numpy(np.arange(20).reshape(5, 4))
    assert first_recordings(Batch(x, lengths, labels, index), 3).targets.shape == (5, 3)
    assert first_recordings(mixed, 9).x.shape == (5, 4, 2)


class KeepOutput(L.Callback):
    """Lets a layer keep the output of its last call, as a plugin's may."""

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        pl_module.network.fc.kept = pl_module.network.fc.weight * 2


def test_a_network_that_cannot_be_copied_is_trained_with_one_warning(
    tmp_path: Path, fit: Fit, caplog: pytest.LogCaptureFixture
) -> None:
    trainer, _ = fit(KeepOutput(), Monitors(every_steps=1), max_epochs=2)
    assert trainer.global_step == 4
    assert caplog.text.count("(Only Tensors") == 1
    assert not [tag for tag in reload(tmp_path).Tags()["scalars"] if tag.startswith("monitors/")]


class Shared(L.Callback):
    """Measures a network with a batch norm that waits for other processes."""

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        norm, pl_module.network.norm = pl_module.network.norm, torch.nn.SyncBatchNorm(8)
        batch = Batch(
            torch.zeros(6, 4, 2, 4, 5), torch.full((4,), 6), torch.zeros(4, dtype=torch.int64), torch.arange(4)
        )
        self.seen = measure_batch(trainer, pl_module, batch, 2.0)
        pl_module.network.norm = norm


def test_one_process_alone_does_not_wait_for_others(fit: Fit, caplog: pytest.LogCaptureFixture) -> None:
    shared = Shared()
    fit(shared)
    assert shared.seen is None
    assert_text_has(caplog.text, "norm", "processes")


@pytest.mark.parametrize(("name", "least"), [("every_steps", 1), ("recordings", 2), ("every_epochs", 1)])
def test_numbers_that_are_too_small_are_refused(name: str, least: int) -> None:
    with assert_raises(ConfigError, name, least, 0):
        Monitors(**{name: 0})
