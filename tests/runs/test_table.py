from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snnlab.runs.run_folder import Result, layer_table, print_result, summary_table, value_table
from snnlab.runs.tables import Table

from ..refusals import assert_text_has


def _result(**metrics: float) -> Result:
    given = {name.replace("__", "/"): value for name, value in metrics.items()}
    selection: dict[str, Any] = {"rule": "lowest_val_loss", "epoch": 1, "epochs": 3, "val_size": 72, "test_size": 1_359}
    timing = {"fit_s": 12.34, "samples_per_s": 567.8, "peak_rss_mb": 1234.5}
    return Result(Path("outputs/conv_lif/run"), "completed", 4, given, selection, timing)


def _rows(table: Table) -> list[list[str]]:
    return [list(row) for row in table.rows]


def _summary(result: Result) -> dict[str, str]:
    return dict(_rows(summary_table(result)))


def test_the_main_results_are_shown_with_the_number_of_recordings() -> None:
    result = _result(test__accuracy=0.9125, val__accuracy=0.5, params=12345.0, test__spikes_per_sample=4321.6)
    assert summary_table(result).title == "conv_lif, seed 4"  # of a run without a name
    rows = _summary(result)
    assert rows["test accuracy"] == "91.2 % of 1,359 recordings"
    assert rows["validation accuracy"] == "50.0 % of 72 recordings"
    assert_text_has(rows["chosen epoch"], "2 of 3", "val loss")
    assert rows["parameters"] == "12,345"
    assert rows["spikes per test sample"] == "4,322"
    assert rows["training"] == "12.3 s, 568 samples/s"


def test_missing_metrics_are_left_out() -> None:
    result = _result(val__accuracy=0.5)
    result.selection["epoch"] = None
    rows = _summary(result)
    assert "test accuracy" not in rows
    assert "chosen epoch" not in rows


@pytest.mark.parametrize("stage", ["val", "test"])
def test_every_layer_is_shown_on_the_test_recordings_or_else_on_validation(stage: str) -> None:
    values = {"spikes_per_step__lif1": 0.25, "rate_hz__lif1": 25.0, "silent__lif1": 0.125, "accuracy": 1.0}
    metrics = {f"val__{name}": 9.0 for name in values} | {f"{stage}__{name}": v for name, v in values.items()}
    table = layer_table(_result(**metrics))
    assert_text_has(table.title, "spiking", stage)
    assert list(table.head) == [
        "layer",
        "spikes / neuron / step",
        "rate (Hz)",
        "never fired",
    ]
    assert _rows(table) == [["lif1", "0.2500", "25.00", "12.5 %"]]


def test_an_accuracy_has_the_number_of_evaluated_recordings() -> None:
    rows = dict(_rows(summary_table(_result(test__accuracy=0.5, test__recordings=32.0))))
    assert rows["test accuracy"] == "50.0 % of 32 recordings"


def test_in_a_pipe_there_are_no_colours_and_no_cell_is_truncated(capsys: pytest.CaptureFixture[str]) -> None:
    name = "block1." * 10 + "lif"
    print_result(_result(test__accuracy=0.5, **{f"test__spikes_per_step__{name}": 0.25}))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "…" not in out
    first = [line.split()[0] for line in out.splitlines() if "block1" in line or line.split()[:1] == ["lif"]]
    assert "".join(first) == name


def test_values_have_errors_and_labels_over_time_an_accuracy_of_steps() -> None:
    errors = {f"{stage}__{name}": 0.25 for stage in ("test", "val", "last__val") for name in ("mae", "rmse", "r2")}
    rows = _summary(_result(**errors))
    assert rows["test error"] == "mean 0.25, rms 0.25, R2 0.250, 1,359 recordings"
    assert rows["validation error"] == "mean 0.25, rms 0.25, R2 0.250, 72 recordings"
    assert rows["last epoch's validation"] == "mean 0.25, rms 0.25, R2 0.250"
    assert "test accuracy" not in rows
    rows = _summary(_result(test__accuracy=0.5, test__recordings=3.0, test__labelled_steps=1234.0))
    assert_text_has(rows["test accuracy"], "50.0 % of 1,234")
    assert "test error" not in rows


def test_each_of_several_values_has_its_errors() -> None:
    values = {
        f"test__{name}__{value}": at for value, at in (("x", 0.5), ("speed", 2.0)) for name in ("mae", "rmse", "r2")
    }
    table = value_table(_result(val__mae__x=9.0, **values))
    assert_text_has(table.title, "values", "test")
    assert _rows(table) == [["x", "0.5", "0.5", "0.500"], ["speed", "2", "2", "2.000"]]
    assert not value_table(_result(test__mae=1.0)).rows


def test_a_run_is_called_by_its_experiment_and_not_by_the_time_of_its_grid() -> None:
    result = _result(test__accuracy=0.5)
    result.folder, result.name = Path("outputs/conv_lif_nmnist/2026-11-27_06-08-12_sweep/0_4"), "conv_lif_nmnist"
    assert summary_table(result).title == "conv_lif_nmnist, seed 4"
    assert_text_has(repr(result), "Result(conv_lif_nmnist", "seed 4: completed", "50.00%", "outputs/")


def test_without_a_length_of_steps_there_is_no_rate_in_hz() -> None:
    table = layer_table(_result(test__spikes_per_step__lif1=0.25, test__silent__lif1=0.0))
    assert list(table.head) == ["layer", "spikes / neuron / step", "never fired"]


def test_a_network_without_spikes_prints_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(_result(test__accuracy=1.0))
    assert "spiking layers" not in capsys.readouterr().out
    print_result(_result(test__spikes_per_step__lif1=0.25))
    assert_text_has(capsys.readouterr().out, "spiking layers")
