"""The folds of a grid, pooled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from snnlab.files import write_npz
from snnlab.runs.pooled_folds import pool_folds, print_folds
from snnlab.runs.report_pages import runs_page
from snnlab.runs.run_folder import PREDICTIONS, Result
from snnlab.runs.runs_table import Grid, read_listed_run, table

from ..refusals import assert_text_has
from .making import make_run


def held(
    folder: Path,
    targets: Sequence[int],
    answers: Sequence[int],
    groups: Sequence[int] | None = None,
    rule: str = "last",
    first: int = 0,
) -> None:
    """Write a run with its answers to the recordings that it held out."""
    folder.mkdir(parents=True)
    accuracy = float(np.mean(np.array(targets) == answers))
    Result(folder, "completed", 0, {"val/accuracy": accuracy}, selection={"rule": rule}).write()
    arrays = {
        "val_recording": first + np.arange(len(targets)),
        "val_target": np.array(targets),
        "val_readout": np.eye(3)[answers].astype(np.float32),
        "val_answers": np.array(answers)[:, None],
    }
    write_npz(folder / PREDICTIONS, arrays | ({} if groups is None else {"val_group": np.array(groups)}))


def grid_of(folder: Path, runs: dict[str, dict[str, str]]) -> Grid:
    return Grid(folder, ["data.folds=2"], list(next(iter(runs.values()))), dict(runs))


def test_each_recording_counts_once_and_the_interval_is_wilsons(tmp_path: Path) -> None:
    held(tmp_path / "0", [0, 0, 1, 1, 2], [0, 0, 1, 1, 2])
    held(tmp_path / "1", [0, 1, 1, 2, 2], [0, 2, 1, 2, 0], first=5)
    grid = grid_of(tmp_path, {"0": {"data.fold": "0"}, "1": {"data.fold": "1"}})
    (pooled,) = pool_folds(grid)
    assert (pooled.right, pooled.total, pooled.folds, pooled.accuracies) == (8, 10, (2, 2), [1.0, 0.6])
    assert pooled.counts.tolist() == [[3, 0, 0], [0, 3, 1], [1, 0, 2]]
    assert pooled.interval == pytest.approx((0.490162, 0.943318), abs=1e-6)  # R: binom::binom.confint(8, 10, "wilson")
    assert (pooled.clusters, pooled.is_chosen) == ((10, False), False)


def test_people_are_the_clusters_and_a_missing_fold_is_named(tmp_path: Path) -> None:
    held(tmp_path / "0", [0, 0, 1, 1], [0, 1, 1, 1], groups=[4, 4, 5, 5], rule="best_val_accuracy")
    grid = grid_of(tmp_path, {"0": {"data.fold": "0"}, "1": {"data.fold": "1"}})
    (pooled,) = pool_folds(grid)
    assert (pooled.clusters, pooled.folds, pooled.is_chosen) == ((2, True), (1, 2), True)
    assert_text_has(pooled.lines()[0], "1 of 2 folds", "3 of 4", "75.0%", "2 groups")
    assert_text_has(pooled.lines()[1], "selection=last")


def test_seeds_are_averaged_and_other_settings_are_kept_apart(tmp_path: Path) -> None:
    runs: dict[str, dict[str, str]] = {}
    for number, (lr, fold, seed) in enumerate(np.ndindex(2, 2, 2)):
        right = 4 if lr else 2 + seed
        held(tmp_path / str(number), [0, 1, 2, 0], [0, 1, 2, 0][:right] + [1] * (4 - right))
        runs[str(number)] = {"optimizer.lr": str(lr), "data.fold": str(fold), "seed": str(seed)}
    first, second = pool_folds(grid_of(tmp_path, runs))
    assert (first.values, first.right, first.total, first.accuracies) == ({"optimizer.lr": "0"}, 5, 8, [0.625, 0.625])
    assert (second.right, second.total) == (8, 8)
    assert_text_has(table(grid_of(tmp_path, runs)).title, "8 runs", "folds and seeds")


def test_steps_without_a_label_do_not_count(tmp_path: Path) -> None:
    tmp_path.joinpath("0").mkdir()
    Result(tmp_path / "0", "completed", 0, {}, selection={"rule": "last"}).write()
    targets = np.array([[0, 1, -100], [2, -100, -100]])
    arrays = {"val_recording": np.array([7, 8]), "val_target": targets, "val_answers": np.zeros((2, 3), np.int64)}
    write_npz(tmp_path / "0" / PREDICTIONS, arrays | {"val_readout": np.eye(3)[np.zeros((2, 3), np.int64)]})
    (pooled,) = pool_folds(grid_of(tmp_path, {"0": {"data.fold": "0"}}))
    assert (pooled.right, pooled.total, pooled.clusters) == (1, 3, (2, False))


def test_the_console_and_the_page_show_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = {}
    for fold in range(2):
        make_run(tmp_path / str(fold), more={"selection": {"rule": "last"}})
        arrays = {"val_recording": np.arange(40), "val_target": np.arange(40) % 3}
        arrays |= {"val_readout": np.eye(3)[np.zeros(40, int)], "val_answers": np.zeros((40, 1), int)}
        write_npz(tmp_path / str(fold) / PREDICTIONS, arrays)
        runs[str(fold)] = {"data.fold": str(fold)}
    grid = grid_of(tmp_path, runs)
    grid.write()
    print_folds(grid)
    assert_text_has(capsys.readouterr().out, "2 folds", "28 of 80", "35.0%")
    page = runs_page(tmp_path, [read_listed_run(tmp_path / str(fold)) for fold in range(2)])
    assert_text_has(page.html(), "28 of 80", "confusion of all folds")
