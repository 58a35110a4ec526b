from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from snnlab.errors import DamagedError
from snnlab.runs.report_figures import draw_swept
from snnlab.runs.report_pages import runs_page
from snnlab.runs.run_folder import Result
from snnlab.runs.runs_table import Grid, GridRow, grid_rows, print_grid, read_grid, read_listed_run, write_table

from ..refusals import assert_raises, assert_text_has
from .making import make_run


def run(folder: Path, status: Any = "completed", **metrics: float) -> None:
    folder.mkdir(parents=True)
    Result(folder, status, 0, {name.replace("_", "/"): value for name, value in metrics.items()}).write()


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    values = {f"{k}_{k % 2}": {"neuron.tau_mem": str(5 + 5 * (k // 2)), "seed": str(k % 2)} for k in range(4)}
    found = Grid(tmp_path, ["seed=0,1"], ["neuron.tau_mem", "seed"], dict(values))
    run(tmp_path / "0_0", test_accuracy=0.5, val_loss=1.0)
    run(tmp_path / "1_1", test_accuracy=0.7, val_loss=2.0)
    run(tmp_path / "2_0", test_accuracy=0.9, val_loss=3.0)
    run(tmp_path / "3_1", "failed")
    found.write()
    return found


def test_runs_that_differ_only_in_the_seed_are_one_row(grid: Grid):
    rows = grid_rows(grid)
    assert [(dict(row.values), row.runs, row.missing) for row in rows] == [
        ({"neuron.tau_mem": "5"}, 2, 0),
        ({"neuron.tau_mem": "10"}, 1, 1),
    ]
    assert rows[0].metrics["test/accuracy"] == [0.5, 0.7]


def test_the_table_holds_mean_deviation_and_number_of_every_metric(grid: Grid):
    with write_table(grid).open(newline="") as file:
        first, second = csv.DictReader(file)
    assert float(first["test/accuracy_mean"]) == pytest.approx(0.6)
    assert float(first["test/accuracy_sd"]) == pytest.approx(0.1 * 2**0.5)
    assert (first["val/loss_n"], second["val/loss_n"]) == ("2", "1")
    assert (second["test/accuracy_sd"], second["runs"], second["missing"]) == ("", "1", "1")


def test_the_printed_table_has_validation_before_test_and_the_number_of_missing_runs(
    grid: Grid, capsys: pytest.CaptureFixture[str]
):
    print_grid(grid)
    output = capsys.readouterr().out
    assert_text_has(output, "4 runs", "mean ± sd")
    assert "60.00% ± 14.14%" in output
    assert "1 of 2" in output
    assert output.index("val/loss") < output.index("test/accuracy")


def test_the_page_of_a_grid_has_its_means_over_seeds(grid: Grid):
    page = runs_page(grid.folder, []).html()
    assert_text_has(page, "Over seeds")
    assert "60.00% ± 14.14%" in page
    (grid.folder / "grid.json").unlink()
    assert "Over seeds" not in runs_page(grid.folder, []).html()


def test_without_a_test_the_table_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run(tmp_path / "0_0", val_accuracy=0.5)
    print_grid(Grid(tmp_path, [], ["neuron"], {"0_0": {"neuron": "lif"}}))
    output = capsys.readouterr().out
    assert_text_has(output, "validation", "test")
    assert "val/accuracy" in output


def test_a_grid_is_read_back_and_other_folders_have_none(grid: Grid, tmp_path: Path):
    assert read_grid(grid.folder) == grid
    assert read_grid(tmp_path / "0_0") is None
    (grid.folder / "grid.json").write_text("{")
    with assert_raises(DamagedError, "grid.json"):
        read_grid(grid.folder)


def test_the_page_of_a_grid_has_its_experiment_as_title_and_the_swept_settings_as_typed(tmp_path: Path) -> None:
    folder = tmp_path / "2026-11-27_06-08-12_sweep"
    for number, tau in enumerate((5.0, 20.0)):
        lif = {"type": "lif", "tau_mem": tau}
        layers = {"lif1": lif, "lif2": lif, "readout": {"type": "li", "tau_mem": 20.0}}
        with (make_run(folder / f"{number}_0", config={"model": {"layers": layers}}) / "config.yaml").open("a") as file:
            file.write("name: conv_lif_nmnist\n")
    lines = [read_listed_run(folder / f"{number}_0") for number in (0, 1)]
    plain = runs_page(folder, lines).html()
    assert "<h1>conv_lif_nmnist</h1>" in plain
    assert re.findall(r"<th>([^<]*tau_mem)</th>", plain) == ["model.layers.*.tau_mem"]
    Grid(folder, [], ["neuron.tau_mem"], {f"{number}_0": {"neuron.tau_mem": str(number)} for number in (0, 1)}).write()
    text = runs_page(folder, lines).html()
    assert re.findall(r"<th>([^<]*tau_mem)</th>", text) == ["neuron.tau_mem"]
    assert "<td>80.00%</td>" in text


def test_a_damaged_run_of_a_grid_is_missing(grid: Grid) -> None:
    (grid.folder / "1_1" / "result.json").write_text("{")
    assert [(row.runs, row.missing) for row in grid_rows(grid)] == [(1, 1), (1, 1)]


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1, "overrides": [], "keys": [], "runs": [1]}'])
def test_a_damaged_grid_is_reported_with_a_fix(grid: Grid, text: str) -> None:
    (grid.folder / "grid.json").write_text(text)
    with assert_raises(DamagedError, "grid.json", "remove"):
        read_grid(grid.folder)


def test_the_page_of_a_grid_has_metrics_against_swept_settings(tmp_path: Path) -> None:
    for place, (tau, seed) in enumerate([("5", 0), ("5", 1), ("200", 0), ("200", 1)]):
        run(tmp_path / f"{place}_{seed}", val_accuracy=0.5 + 0.1 * seed, val_loss=float(tau))
    runs = {f"{k}_{k % 2}": {"neuron.tau_mem": ("5", "200")[k // 2], "seed": str(k % 2)} for k in range(4)}
    Grid(tmp_path, [], ["neuron.tau_mem", "seed"], dict(runs)).write()
    page = runs_page(tmp_path, [])
    (accuracy, figure), (loss, _) = page.plots["swept"]
    assert (accuracy, loss) == ("val/accuracy against neuron.tau_mem", "val/loss against neuron.tau_mem")
    assert isinstance(figure, Figure)
    (ax,) = figure.axes
    assert ax.get_xscale() == "log"
    found = [np.asarray(line.get_xydata()).tolist() for line in ax.get_lines()]
    assert [[5, pytest.approx(0.55)], [200, pytest.approx(0.55)]] in found
    assert_text_has(page.html(), "against", "swept")


def test_swept_settings_may_be_text_and_other_settings_have_a_line_each() -> None:
    rows = [
        GridRow({"neuron": neuron, "lr": lr}, 1, 0, {"val/accuracy": [accuracy]})
        for neuron, lr, accuracy in (
            ("lif", "0.1", 0.5),
            ("lif", "0.2", 0.6),
            ("plif", "0.1", 0.7),
            ("plif", "0.2", 0.8),
        )
    ]
    (_, of_neurons), (_, of_rates) = draw_swept(rows, ["neuron", "lr"])
    assert [tick.get_text() for tick in of_neurons.axes[0].get_xticklabels()] == ["lif", "plif"]
    assert of_rates.axes[0].get_legend_handles_labels()[1] == ["neuron=lif", "neuron=plif"]
    assert not list(draw_swept([GridRow({"lr": "1"}, 0, 1, {})], ["lr"]))
