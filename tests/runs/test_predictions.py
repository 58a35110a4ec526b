from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from snnlab.data.events.frames import Batch
from snnlab.nn.layer import Counts
from snnlab.nn.losses import CrossEntropy, Loss, SeriesSquaredError, SquaredError, StepCrossEntropy
from snnlab.runs.predictions import Predictions, layer_names, prediction_metrics
from snnlab.training.module import Outputs

T, K = 5, 3
ENDS = ("recording", "target", "readout", "answers", "spikes", "confidence", "steps")


class _Module(nn.Module):
    loss: Loss

    def __init__(self, loss: Loss | None = None) -> None:
        super().__init__()
        self.loss = loss or CrossEntropy("last")


def _outputs(places: list[int], spiking: bool = True) -> Outputs:
    B = len(places)
    rng = torch.Generator().manual_seed(places[0])
    lengths, targets = torch.full((B,), T), torch.tensor(places) % K
    batch = Batch(torch.zeros(T, B, 2), lengths, targets, torch.tensor(places))
    counts: Counts = {"conv": torch.full((B, 2, 4, 4), 3.0), "lif": torch.arange(B)[:, None].float()}
    return Outputs(torch.randn(T, B, K, generator=rng), counts if spiking else {}, batch)


def _add(predictions: Predictions, stage: str, outputs: Outputs) -> None:
    hook: Any = {"val": predictions.on_validation_batch_end, "test": predictions.on_test_batch_end}[stage]
    hook(None, _Module(), outputs, outputs.batch, 0)


@pytest.mark.parametrize("stage", ["val", "test"])
def test_there_is_a_row_for_each_recording_in_the_order_seen(stage: str) -> None:
    predictions, batches = Predictions(stage), [_outputs([7, 2, 9]), _outputs([4])]
    for outputs in batches:
        _add(predictions, stage, outputs)
    arrays = predictions.arrays()
    y = torch.cat([outputs.y for outputs in batches], 1)
    assert set(arrays) == {f"{stage}_{end}" for end in ENDS}
    assert {name: array.shape for name, array in arrays.items()} == {
        f"{stage}_recording": (4,),
        f"{stage}_target": (4,),
        f"{stage}_readout": (4, K),
        f"{stage}_answers": (4, T),
        f"{stage}_spikes": (4, 2),
        f"{stage}_confidence": (4, T),
        f"{stage}_steps": (4,),
    }
    assert arrays[f"{stage}_recording"].tolist() == [7, 2, 9, 4]
    assert arrays[f"{stage}_target"].tolist() == [1, 2, 0, 1]
    np.testing.assert_array_equal(arrays[f"{stage}_readout"], y[-1].numpy())
    np.testing.assert_array_equal(arrays[f"{stage}_answers"], y.argmax(-1).T.numpy())
    assert arrays[f"{stage}_spikes"].tolist() == [[96, 0], [96, 1], [96, 2], [96, 0]]
    assert {arrays[f"{stage}_{end}"].dtype.kind for end in ("recording", "target", "answers", "spikes")} == {"i"}


def test_other_stages_are_not_collected() -> None:
    predictions = Predictions("test")
    _add(predictions, "val", _outputs([1]))
    assert predictions.arrays() == {}


def test_a_network_without_spikes_has_no_columns() -> None:
    predictions = Predictions("val")
    _add(predictions, "val", _outputs([1, 2], spiking=False))
    assert predictions.arrays()["val_spikes"].shape == (2, 0)


def test_half_precision_is_written_as_float32() -> None:
    predictions, outputs = Predictions("val"), _outputs([1, 2])
    _add(predictions, "val", outputs._replace(y=outputs.y.bfloat16()))
    assert predictions.arrays()["val_readout"].dtype == np.float32


def test_the_columns_of_spikes_have_the_layers_names() -> None:
    names = layer_names(cast(Any, {"conv": (2, 4, 4), "block.lif": (1,)}))
    assert names.tolist() == ["conv", "block.lif"]
    assert names.dtype.kind == "U"  # no pickle is needed to read it
    assert layer_names({}).dtype.kind == "U"


def test_values_have_a_value_for_each_step() -> None:
    predictions, outputs = Predictions("test"), _outputs([7, 2, 9])
    targets = torch.rand(3, K)
    outputs = outputs._replace(batch=outputs.batch._replace(targets=targets))
    predictions.on_test_batch_end(cast(Any, None), _Module(SquaredError("last")), outputs, outputs.batch, 0)
    arrays = predictions.arrays()
    np.testing.assert_array_equal(arrays["test_target"], targets.numpy())
    np.testing.assert_array_equal(arrays["test_readout"], outputs.y[-1].numpy())
    np.testing.assert_array_equal(arrays["test_answers"], outputs.y.transpose(0, 1).numpy())
    assert arrays["test_answers"].dtype == np.float32


def test_values_at_each_step_have_the_scored_steps_and_an_error_for_each() -> None:
    predictions, outputs = Predictions("test"), _outputs([T] * 3)
    targets = torch.rand(T, 3, K)
    outputs = outputs._replace(batch=outputs.batch._replace(targets=targets))
    predictions.on_test_batch_end(cast(Any, None), _Module(SeriesSquaredError(2)), outputs, outputs.batch, 0)
    arrays = predictions.arrays()
    np.testing.assert_array_equal(arrays["test_target"], targets[2:].transpose(0, 1).numpy())
    np.testing.assert_array_equal(arrays["test_readout"], outputs.y[2:].transpose(0, 1).numpy())
    np.testing.assert_array_equal(arrays["test_answers"], outputs.y.transpose(0, 1).numpy())
    names = [f"x{number}" for number in range(K)]
    target, readout, answers = (arrays[f"test_{name}"] for name in ("target", "readout", "answers"))
    errors = prediction_metrics(target, readout, answers, names)["error_over_time"]
    assert np.isnan(errors["x1"][:2]).all()
    np.testing.assert_allclose(errors["x1"][2:], (outputs.y - targets)[2:, :, 1].abs().mean(1), rtol=1e-6)


def test_labels_over_time_have_a_row_of_steps_per_recording() -> None:
    predictions, outputs = Predictions("val"), _outputs([7, 2, 9])
    targets = torch.randint(-1, K, (T, 3))
    outputs = outputs._replace(batch=outputs.batch._replace(targets=targets))
    predictions.on_validation_batch_end(cast(Any, None), _Module(StepCrossEntropy()), outputs, outputs.batch, 0)
    arrays = predictions.arrays()
    np.testing.assert_array_equal(arrays["val_target"], targets.T.numpy())
    np.testing.assert_array_equal(arrays["val_readout"], outputs.y.transpose(0, 1).numpy())
    np.testing.assert_array_equal(arrays["val_answers"], outputs.y.argmax(-1).T.numpy())
    assert arrays["val_answers"].dtype == np.int32
