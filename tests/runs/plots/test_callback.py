from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.runs.plots.callback import Plots, _count_answers, choose_across_classes
from snnlab.training.module import SpikingModule

from ...refusals import assert_raises
from ..conftest import Fit, reload

OF_A_RECORDING = {
    *("events", "events_over_time", "readout"),
    *(f"{what}/{layer}" for what in ("raster", "membranes") for layer in ("lif", "cuba")),
}


def _images(folder: Path) -> dict[str, list[int]]:
    """Return the steps at which each plot was written."""
    if not (folder / "tensorboard").exists():
        return {}
    events = reload(folder)
    return {tag: [image.step for image in events.Images(tag)] for tag in events.Tags()["images"]}


@pytest.mark.long
def test_every_few_epochs_and_at_the_end_all_plots_are_written(tmp_path: Path, fit: Fit) -> None:
    fit(Plots(recordings=2, every_epochs=2), max_epochs=3)
    images = _images(tmp_path)
    tags = {f"plots/recording_{index}/{what}" for index in (0, 2) for what in OF_A_RECORDING}
    assert set(images) == tags | {"plots/rates/lif", "plots/rates/cuba", "plots/confusion"}
    once = {tag for tag in tags if "/events" in tag}  # a recording does not change
    assert all(steps == ([3] if tag in once else [3, 5]) for tag, steps in images.items())
    assert {3, 5} <= {scalar.step for scalar in reload(tmp_path).Scalars("val/loss")}


@pytest.mark.long
def test_training_is_the_same_bit_for_bit_with_and_without(fit: Fit) -> None:
    def outcome(*callbacks: L.Callback) -> tuple[dict[str, Any], list[bool], Any, Any, dict[str, Any]]:
        np.random.seed(0)
        trainer, module = fit(*callbacks, max_epochs=2)
        modes = [part.training for part in module.modules()]
        return module.state_dict(), modes, torch.get_rng_state(), np.random.get_state(), dict(trainer.callback_metrics)

    plain, drawn = outcome(), outcome(Plots(recordings=2, every_epochs=1))
    assert plain[0].keys() == drawn[0].keys()
    assert all(torch.equal(plain[0][key], drawn[0][key]) for key in plain[0])
    assert plain[1] == drawn[1]
    assert torch.equal(plain[2], drawn[2])
    np.testing.assert_array_equal(plain[3][1], drawn[3][1])
    assert plain[4] == drawn[4]


class RandomInEvaluation(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0 * torch.rand_like(x)


@pytest.mark.long
def test_a_layer_that_draws_in_evaluation_does_not_shift_the_random_numbers(
    fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snnlab.nn import Network

    network, before = Network({"odd": RandomInEvaluation(), "flatten": torch.nn.Flatten()}), []
    pictures = Plots(recordings=1)
    draw = pictures._draw

    def recorded(trainer: L.Trainer, module: SpikingModule) -> None:
        monkeypatch.setattr(module, "network", network)
        before.append(torch.get_rng_state())
        draw(trainer, module)

    monkeypatch.setattr(pictures, "_draw", recorded)
    fit(pictures)
    assert torch.equal(before[0], torch.get_rng_state())


@pytest.mark.long
def test_rates_are_those_of_all_validation_recordings(fit: Fit) -> None:
    pictures = Plots(recordings=1)
    trainer, _ = fit(pictures, max_epochs=2)
    assert int(pictures._steps) == 5 * 6
    rate = pictures._counts["lif"].mean() / pictures._steps * 1000 / 2.0
    torch.testing.assert_close(float(rate), float(trainer.callback_metrics["val/rate_hz/lif"]))


def test_the_confusion_matrix_is_of_all_validation_recordings(fit: Fit) -> None:
    pictures = Plots(recordings=1)
    trainer, _ = fit(pictures, max_epochs=2)
    assert pictures._confusion is not None
    assert pictures._confusion.sum(1).tolist() == [1, 3, 1]  # the classes 1, 1, 0, 2, 1
    right = float(pictures._confusion.diagonal().sum() / 5)
    assert right == pytest.approx(float(trainer.callback_metrics["val/accuracy"]))


@pytest.mark.filterwarnings("ignore:Total length of .list. across ranks is zero")
@pytest.mark.parametrize("changes", [{"logger": False}, {"val": 0}], ids=["no TensorBoard", "no validation"])
def test_without_tensorboard_or_recordings_nothing_is_drawn(tmp_path: Path, fit: Fit, changes: dict[str, Any]) -> None:
    fit(Plots(), **changes)
    assert not _images(tmp_path)


class StopAfterFirst(L.Callback):
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = True


@pytest.mark.long
def test_a_training_that_stops_early_is_drawn_at_its_end(tmp_path: Path, fit: Fit) -> None:
    fit(Plots(recordings=1, every_epochs=100), StopAfterFirst(), max_epochs=9)
    assert set(map(tuple, _images(tmp_path).values())) == {(1,)}


@pytest.mark.parametrize(
    ("targets", "number", "chosen"),
    [
        ([1, 1, 0, 0, 1], 1, [3]),
        ([1, 1, 0, 0, 1], 2, [3, 5]),
        ([1, 7, 0, 0, 1], 3, [3, 4, 5]),
        ([1, 1, 0, 0, 1], 4, [3, 5, 4, 6]),
        ([1, 1, 0, 0, 1], 9, [3, 5, 4, 6, 8]),
    ],
)
def test_recordings_are_of_different_classes_as_far_as_possible(
    targets: list[int], number: int, chosen: list[int]
) -> None:
    of_store, places = np.full(9, 5), np.array([3, 4, 5, 6, 8])
    of_store[places] = targets
    assert choose_across_classes(of_store, places, number).tolist() == chosen


@pytest.mark.parametrize("name", ["recordings", "every_epochs"])
def test_numbers_below_one_are_refused(name: str) -> None:
    with assert_raises(ConfigError, name, 1, 0):
        Plots(**{name: 0})


def test_steps_without_a_label_are_not_in_the_confusion_matrix() -> None:
    targets, answers = torch.tensor([[0, -100], [2, 1]]), torch.tensor([[0, 1], [1, 1]])
    assert _count_answers(answers, targets, 3).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
