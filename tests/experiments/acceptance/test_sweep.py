"""What docs/search.md and `snnlab sweep --help` promise: one search is made, continued, shown, its winner tested."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import pytest

from ...acceptance.calling import call
from ...cli.browser import COUNT, clicks, in_a_browser, seen
from ...refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]
NET = (
    "data=spike_patterns",
    "data.num_recordings=80",
    "data.num_classes=4",
    "data.num_bins=10",
    "model=mlp_lif",
    "model.layers.fc1.out_features=8",
    "neuron.tau_mem=300",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
)
STORED = (*NET, "data.store_dir=store")
SEARCH = (
    "sweep.space={optimizer.lr: [0.01, 0.02, 3.0e+38]}",
    "sweep.sampler=grid",
    "sweep.trials=2",
    "sweep.finalists=2",
    "sweep.finalist_seeds=1",
    "sweep.test_seeds=2",
    "sweep.objectives={val/loss: minimize, val/spikes_per_sample: minimize}",
    "sweep.engine=here",
)


class Search(NamedTuple):
    """A search of two trials, continued for a third; one of them fails."""

    root: Path
    first: Outcome
    finished: dict[int, Any]
    continued: Outcome

    @property
    def folder(self) -> Path:
        return self.root / self.continued.out.splitlines()[-1]

    @property
    def page(self) -> dict[str, Any]:
        return json.loads((self.folder / "search.json").read_text())


def finished_at(folder: Path) -> dict[int, Any]:
    """Return the end and the values of each trial that is over."""
    study = optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder / 'study.db'}")
    return {one.number: (one.datetime_complete, one.values) for one in study.get_trials() if one.state.is_finished()}


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    root = tmp_path_factory.mktemp("search")
    first = call(root, "sweep", *STORED, *SEARCH)
    assert first.status == 0, first.err
    folder = first.out.splitlines()[-1]
    finished = finished_at(root / folder)
    return Search(root, first, finished, call(root, "sweep", f"resume={folder}", "sweep.trials=3"))


def test_the_last_line_is_the_folder_with_trials_finalists_and_the_winner(search: Search):
    assert search.folder.parent.name == "mlp_lif_spike_patterns"
    names = {"sweep.yaml", "study.db", "trials", "finalists", "winner", "trials.csv", "search.json", "plots", "config"}
    assert names <= {path.name for path in search.folder.iterdir()}
    assert search.first.err.count("finished") + search.first.err.count("failed") >= 2  # a line per trial


def test_trials_are_never_tested_and_the_winner_is_with_fresh_seeds(search: Search):
    for number in range(3):
        result = json.loads((search.folder / "trials" / f"{number:03d}" / "result.json").read_text())
        assert not [name for name in result["metrics"] if "test/" in name]
    winner = search.page["winner"]
    assert winner["test_seeds"] == [2, 3]
    assert len(winner["runs"]) == 2
    for run in winner["runs"]:
        result = json.loads((search.folder / run / "result.json").read_text())
        assert result["metrics"]["test/accuracy"] >= 0
        record = result["search"]  # a run of a search says so
        assert record.pop("chosen_by").startswith("val/loss, mean")
        assert record.pop("trials") in (2, 3)  # the same winner is not trained again
        assert record == {"val_size": 8, "seeds": [1]}


def test_a_continued_search_repeats_no_finished_trial(search: Search):
    assert search.continued.status == 0, search.continued.err
    after = finished_at(search.folder)
    assert len(after) == 3
    assert {number: after[number] for number in search.finished} == search.finished


def test_a_failed_trial_is_recorded_with_its_error_and_skipped(search: Search):
    with (search.folder / "trials.csv").open(newline="") as file:
        rows = {row["optimizer.lr"]: row for row in csv.DictReader(file)}
    assert {lr: row["state"] for lr, row in rows.items()} == {"0.01": "complete", "0.02": "complete", "3e+38": "failed"}
    assert "overflow" in rows["3e+38"]["error"]


@pytest.mark.long
def test_a_moved_search_goes_on_only_when_its_overrides_are_repeated(search: Search, tmp_path: Path):
    moved = shutil.copytree(search.folder, tmp_path / "moved" / search.folder.name)
    before = finished_at(moved)
    refused = call(search.root, "sweep", f"resume={moved}")
    assert refused.status == 2
    assert_error_has(refused.error, moved, "moved", "repeat")
    (typed,) = re.findall("snnlab sweep (.*)", refused.err)
    assert call(search.root, "sweep", *shlex.split(typed), "neuron.tau_mem=301").status == 2
    done = call(search.root, "sweep", *shlex.split(typed))
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1] == str(moved)
    assert finished_at(moved) == before


def test_the_front_is_drawn_and_the_settings(search: Search):
    assert {"pareto.png", "slice_val_loss.png"} <= {path.name for path in (search.folder / "plots").iterdir()}


def test_the_winner_is_an_experiment(search: Search):
    (again,) = (line for line in search.continued.out.splitlines() if line.startswith("snnlab train --config-dir"))
    checked = call(search.root, *again.split()[1:], "--cfg", "job")
    assert checked.status == 0, checked.err
    chosen = next(text for text in search.page["winner"]["overrides"] if text.startswith("optimizer.lr="))
    assert f"lr: {chosen.partition('=')[2]}" in checked.out


def test_a_page_of_a_search_has_the_winner_its_test_the_trials_and_how_to_continue(search: Search):
    done = call(search.root, "report", str(search.folder), "--figures", "png")
    assert done.status == 0, done.err
    *figures, page = map(Path, done.out.split())
    assert page == search.folder / "report.html"
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in figures)
    text = page.read_text()
    assert_text_has(text, "3 trials", "2 complete", "1 failed")
    assert re.search("<td>optimizer.lr=0.0[12]</td>", text)
    assert re.search(r"<td>test/accuracy</td><td>[\d.]+%</td><td>[\d.]+%</td>", text)
    assert_text_has(text, "fresh", "seeds [2, 3]")
    assert f"snnlab sweep resume={search.folder} sweep.trials=" in text
    assert "experiment=best" in text
    assert "http" not in re.sub('src="data:[^"]*"', "", text)


@in_a_browser
def test_a_browser_shows_the_page_of_a_search_and_a_click_sorts_a_table(search: Search, tmp_path: Path):
    page = tmp_path / "report.html"
    assert call(search.root, "report", str(search.folder), "--out", str(page)).status == 0
    shown, complaints = seen(page, COUNT.removesuffix("</body>") + clicks("val/loss"))
    assert complaints == ""
    assert f"<title>decoded {page.read_text().count('<img')}</title>" in shown
    assert 'aria-sort="descending"' in shown


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["sweep.objectives={test/accuracy: maximize}"], ("sweep.objectives.test/accuracy", "recordings")),
        (["sweep.objectives={val/acuracy: maximize}"], ("sweep.objectives.val/acuracy", "val/loss", "val/accuracy")),
        (["sweep.space={optimizer.rl: [0.1, 0.2]}"], ("optimizer.rl", "optimizer.rl=0.1", "sweep.space")),
        (["sweep.space={neuron.tau_mem: [300, 0.001]}"], ("neuron.tau_mem", 0.001, "sweep.space")),
        (["sweep.space={}"], ("sweep.space", "empty")),
        (["optimizer.lr=0.1"], ("optimizer.lr=0.1", "searched")),
        (["test=true"], ("test=true", "search")),
        (["sweep=defualt"], ("sweep=defualt", "default")),
        (["sweep.wrokers=3"], ("sweep.wrokers", "workers")),
    ],
)
def test_a_mistake_is_found_before_anything_runs(search: Search, snnlab: Snnlab, arguments: list[str], facts: tuple):
    space = SEARCH[:1] if not any(text.startswith("sweep.space") for text in arguments) else ()
    done = call(search.root, "sweep", *STORED[:-4], *STORED[-3:], *space, "sweep.engine=here", "name=wrong", *arguments)
    assert done.status == 2, done.out
    assert_error_has(done.error, *facts)
    assert not (search.root / "outputs" / "wrong").exists()


@pytest.mark.long
def test_trials_with_low_scores_are_pruned_and_count(search: Search):
    rates = "sweep.space={optimizer.lr: [0.01, 0.011, 0.012, 0.013, 0.014, 1.0e-9]}"
    arguments = ("sweep.sampler=grid", "sweep.prune={by: median, after: 0}", "trainer.max_epochs=4", "name=pruned")
    none = ("sweep.test_seeds=0", "sweep.finalists=0", "sweep.engine=here")
    done = call(search.root, "sweep", *STORED, rates, *arguments, *none)
    assert done.status == 0, done.err
    folder = search.root / done.out.splitlines()[-1]
    with (folder / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert any("pruned" in row["state"] and int(row["epochs"]) < 4 for row in rows), rows
    assert json.loads((folder / "search.json").read_text())["trials"]["finished"] == 6


@pytest.mark.long
def test_joblib_runs_the_trials_in_processes(search: Search):
    given = (
        *STORED,
        *SEARCH[:-1],
        "sweep.test_seeds=0",
        "sweep.finalists=0",
        "sweep.workers=2",
        "threads=1",
        "name=joblib",
    )
    done = call(search.root, "sweep", *given)
    assert done.status == 0, done.err
    found = [json.loads(path.read_text()) for path in Path(search.root).glob("outputs/joblib/*/trials/*/result.json")]
    assert len(found) >= 2
    assert {one["provenance"]["threads"] for one in found} == {1}


PLUGIN = """
from snnlab.nn import NEURONS
from snnlab.nn.neurons.lif import LIF


@NEURONS.register("named")
class Named(LIF):
    leak: float = 1.0
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a neuron of the user's own, and its file; this process does not import it."""
    (tmp_path / "conf" / "neuron").mkdir(parents=True)
    (tmp_path / "conf" / "neuron" / "named.yaml").write_text("type: named\ntau_mem: 300.0\n")
    (tmp_path / "named_neurons.py").write_text(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


@pytest.mark.long
def test_ranges_of_a_float_setting_have_no_whole_numbers_and_the_winner_over_a_plugins_neuron_is_an_experiment(
    plugin: Path, snnlab: Snnlab
):
    """The range of a plugin's setting under a condition, of Lightning's and of torch's."""
    space = (
        "{neuron: [named], neuron.leak: {low: 0, high: 1, when: {neuron: named}}, optimizer.lr: {low: 0, high: 1},"
        " trainer.gradient_clip_val: {low: 1, high: 2}, data.batch_size: {low: 8, high: 16}}"
    )
    ends = ("sweep.trials=3", "sweep.finalists=1", "sweep.finalist_seeds=1", "sweep.test_seeds=0", "sweep.workers=1")
    net = [word for word in NET if not word.startswith("neuron.")]
    done = call(plugin, "sweep", "--config-dir", "conf", "plugins=[named_neurons]", *net, f"sweep.space={space}", *ends)
    assert done.status == 0, done.err
    folder = plugin / done.out.splitlines()[-1]
    with (folder / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    floats = ("neuron.leak", "optimizer.lr", "trainer.gradient_clip_val")
    assert not [(name, row[name]) for row in rows for name in floats if float(row[name]).is_integer()]
    assert all(float(row["data.batch_size"]).is_integer() for row in rows)
    assert (folder / "config" / "experiment" / "best.yaml").is_file()
