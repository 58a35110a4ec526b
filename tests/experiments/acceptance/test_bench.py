"""What docs/benchmarks.md and `snnlab bench --help` promise: one suite is trained, shown and compared."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from ...acceptance.calling import call
from ...acceptance.test_learning import RULE
from ...cli.browser import COUNT, clicks, in_a_browser, seen
from ...refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]
SUITE = """
datasets:
  points: [data=yin_yang, data.num_train=128, data.num_val=32, data.num_test=64, data.num_bins=8]
methods:
  lif: [model=mlp_lif, model.layers.fc1.out_features=6, neuron.v_threshold=0.05]
  linear: {overrides: [model=linear_counts], role: baseline, note: 18 numbers}
seeds: [0, 1, 2, 3]
common: [trainer.max_epochs=2, trainer.accelerator=cpu, monitors=null, plots=null, threads=1, optimizer.lr=0.02]
match: {by: params, within: 0.1}
energy: {mac_pj: 5.0}
controls: [shuffled_labels, permuted_test_labels, shuffled_time, counts_only]
published:
  - {dataset: points, name: Theirs, accuracy: 97.5, architecture: one layer, steps: 8, params: 963, protocol: one seed}
engine: here
"""
OURS = ("bench", "suite=points", "--config-dir", "mine")


class Bench(NamedTuple):
    """A suite that was planned, trained and asked for again, and what each command printed."""

    root: Path
    planned: Outcome
    trained: Outcome
    again: Outcome

    @property
    def folder(self) -> Path:
        return self.root / "outputs" / "suite_points"

    def copy(self, to: Path, *names: str) -> Path:
        """Return another working folder, with the suite's file, and with copies of folders of this one."""
        for name in ("mine", *names):
            shutil.copytree(self.root / name, to / name)
        return to


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    root = tmp_path_factory.mktemp("bench")
    (root / "mine" / "suite").mkdir(parents=True)
    (root / "mine" / "suite" / "points.yaml").write_text(f"# snnlab bench suite=points\n# Points.\n{SUITE}")
    planned = call(root, *OURS, "--dry-run")
    assert [path.name for path in root.iterdir()] == ["mine"]
    return Bench(root, planned, call(root, *OURS), call(root, *OURS))


def states(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "suite.json").read_text())["cells"]


def test_without_arguments_the_suites_are_listed_yours_too(bench: Bench):
    listed = [call(bench.root, "bench", *more).out for more in ((), ("--config-dir", "mine"))]
    assert all(f"suite={name} " in listed[0] for name in ("smoke", "nmnist", "yin_yang"))
    assert re.search("^suite=points +Points", listed[1], re.M)


def test_a_dry_run_prints_which_trainings_are_planned_and_done(bench: Bench):
    assert bench.planned.status == 0
    assert_text_has(
        bench.planned.out, "12 trainings", "lif: 0 of 4", "linear: 0 of 4", "shuffled_labels of lif: 0 of 1"
    )
    few = call(bench.root, *OURS, "--dry-run", "methods=[lif]", "seeds=[0,1,9]", "controls=[]")
    assert_text_has(few.out, "3 trainings", "lif: 2 of 3")
    assert "linear" not in few.out


def test_every_method_is_trained_with_every_seed_and_the_folder_is_the_last_line(bench: Bench):
    assert bench.trained.status == 0, bench.trained.err
    assert bench.trained.err.count("  | ") == 12
    assert Path(bench.trained.out.splitlines()[-1]) == bench.folder
    assert_text_has(bench.trained.out, "12 of 12 trainings", "0 failed", "0 are missing")
    assert {cell["status"] for cell in states(bench.folder)} == {"completed"}
    names = [
        "suite.yaml",
        "suite.json",
        "runs",
        "controls",
        *(f"table.{kind}" for kind in ("md", "csv", "json", "tex")),
    ]
    assert {*names, "report.html"} <= {path.name for path in bench.folder.iterdir()}
    assert all((bench.folder / cell["folder"] / "predictions.npz").is_file() for cell in states(bench.folder))


def test_the_same_command_repeats_nothing(bench: Bench):
    assert (bench.again.status, bench.again.err.count("  | ")) == (0, 0)
    assert_text_has(bench.again.out, "12 of 12 trainings")


def test_controls_are_trained_with_the_methods(bench: Bench):
    controls = json.loads((bench.folder / "suite.json").read_text())["controls"]
    assert {one["name"]: one["passed"] for one in controls} == {
        "duplicates": True,
        "shuffled_labels": True,
        "permuted_test_labels": True,
        "shuffled_time": None,
        "counts_only": None,
    }


def test_the_table_has_intervals_costs_flags_and_the_protocol_and_does_not_rank_what_is_published(bench: Bench):
    out = " ".join(call(bench.root, "bench", "table", str(bench.folder)).out.split())
    assert_text_has(out, "parameters", "published by others, not ranked", "Theirs", "97.5", "protocol", "95 % interval")
    words = (
        "baseline",
        "lowest val loss",
        "5 pJ",
        "18 numbers",
        "128 to train",
        "commit",
        "spikes /",
    )
    assert not [word for word in words if word not in out]
    assert re.search(r"off its( \(baseline\))? budget", out)  # a second line of the cell, where the tree is dirty
    page = json.loads(call(bench.root, "bench", "table", str(bench.folder), "--format", "json").out)
    assert page == json.loads((bench.folder / "table.json").read_text())
    keys = {column["key"] for column in page["columns"]}
    assert {"test_accuracy", "test_interval", "params", "spikes_per_sample", "energy_nj"} <= keys


@pytest.mark.parametrize("form", ["md", "csv", "tex"])
def test_a_table_has_a_format_and_chosen_columns_for_a_paper(bench: Bench, form: str):
    whole = call(bench.root, "bench", "table", str(bench.folder), "--format", form)
    assert whole.out == (bench.folder / f"table.{form}").read_text()
    columns = ("--columns", "test_accuracy,params", "--by", "dataset", "--format", form)
    few = call(bench.root, "bench", "table", str(bench.folder), *columns)
    assert few.status == 0, few.err
    assert set(re.findall(r"\b(?:18|48)\b", few.out)) == {"18", "48"}
    assert "spikes" not in few.out.partition("energy estimate")[0]


def test_the_best_of_the_tested_epochs_is_shown_when_asked_for(bench: Bench):
    plain, shown = (
        call(bench.root, "bench", "table", str(bench.folder), *more).out for more in ((), ("--best-on-test",))
    )
    assert ("best on test" in " ".join(shown.split()), "best on test" in " ".join(plain.split())) == (True, False)


def test_methods_are_compared_over_seeds(bench: Bench):
    runs = bench.folder / "runs" / "points"
    done = call(bench.root, "bench", "compare", str(runs / "lif"), str(runs / "linear"))
    assert done.status == 0, done.err
    assert_text_has(done.out, "95 % interval", "McNemar's p")
    assert "better" in done.out or re.search(r"cannot tell.*detect [\d.]+ points in 80 %", done.out, re.DOTALL)


def test_a_suite_of_ones_own_is_checked(bench: Bench):
    done = call(bench.root, "bench", "--check", str(bench.folder), "linear")
    assert done.status == 0, done.out
    assert_text_has(done.out, "points/linear/3: 64 answers, equal in every bit", "5 of 5")


def test_one_seed_each_compares_two_networks(bench: Bench):
    runs = bench.folder / "runs" / "points"
    done = call(bench.root, "bench", "compare", str(runs / "lif" / "0"), str(runs / "linear" / "0"))
    assert_text_has(done.out, "seed 0", "network")


def test_new_methods_are_added_failures_recorded_and_a_missing_dataset_leaves_a_gap(bench: Bench, tmp_path: Path):
    root = bench.copy(tmp_path, "outputs")
    page = yaml.safe_load(SUITE)
    page["methods"]["broken"] = ["model=linear_counts", "optimizer.lr=3.0e+38"]
    page["datasets"]["gone"] = ["data=nmnist", "data.root=nowhere", "data.download=false"]
    (root / "mine" / "suite" / "points.yaml").write_text(yaml.safe_dump({**page, "controls": [], "seeds": [0, 1]}))
    done = call(root, *OURS, "methods=[linear,broken]")
    assert done.status == 0, done.err
    assert_text_has(done.out, "2 of 8 trainings", "2 failed", "4 are missing")
    found = {(one["dataset"], one["method"], one["status"]) for one in states(root / "outputs" / "suite_points")}
    assert {("points", "broken", "failed"), ("gone", "linear", "missing"), ("points", "linear", "completed")} <= found
    assert_text_has(call(root, "report", "outputs/suite_points").out, "report.html")
    text = (root / "outputs" / "suite_points" / "report.html").read_text()
    assert_text_has(text, "<td>broken</td><td>0</td><td>failed</td>", "overflow")


def test_each_method_is_tuned_with_the_same_number_of_trials_on_validation_recordings(bench: Bench, tmp_path: Path):
    root = bench.copy(tmp_path)
    few = ("seeds=[0]", "controls=[]", "tune={trials: 2, space: {data.batch_size: [32, 64]}}", "folder=tuned")
    done = call(root, *OURS, *few)
    assert done.status == 0, done.err
    for method in ("lif", "linear"):
        trials = list((root / "tuned" / "tune").glob(f"*/{method}/trials/*/result.json"))
        assert len(trials) == 2, list((root / "tuned" / "tune").rglob("result.json"))
        assert not any("test/" in name for path in trials for name in json.loads(path.read_text())["metrics"])


def test_other_settings_need_another_folder(bench: Bench):
    refused = call(bench.root, *OURS, "trainer.max_epochs=3")
    assert refused.status == 2
    assert_error_has(refused.error, "outputs/suite_points", "trainer.max_epochs=3", "folder=FOLDER")
    longer = call(bench.root, *OURS, "trainer.max_epochs=3", "folder=outputs/longer", "--dry-run")
    assert_text_has(longer.out, "outputs/longer", "lif: 0 of 4")


def test_the_page_of_a_suite_has_its_tables_controls_figures_and_command_offline(bench: Bench, tmp_path: Path):
    done = call(bench.root, "report", str(bench.folder), "--figures", "svg", "--out", str(tmp_path / "page.html"))
    assert done.status == 0, done.err
    *figures, page = map(Path, done.out.split())
    assert page == tmp_path / "page.html"
    assert {path.parent for path in figures} == {tmp_path / "figures"}
    assert all(path.read_bytes().startswith(b"<?xml") for path in figures)
    text = page.read_text()
    assert re.findall(r"<h2>(\w+).*?</h2>", text)[:2] == ["points", "Controls"]
    assert_text_has(text, "1 dataset", "2 methods", "8 of 8 runs")
    assert re.search("<td>linear \\(baseline\\)</td><td class=figure>4/4</td>", text)
    assert re.search("<tr class=faint><td>Theirs</td>.*not comparable", text)
    assert "snnlab bench suite=points" in text
    assert "http" not in re.sub('src="data:[^"]*"', "", text)


@pytest.mark.long
def test_a_suite_trains_a_rule_of_ones_own_beside_bptt(workplace: Path, snnlab: Snnlab):
    (workplace / "my_decayed_rule.py").write_text(RULE)
    (workplace / "mine" / "suite").mkdir(parents=True)
    short = SUITE.partition("methods:")[0].replace("num_bins=8", "num_bins=8, loss=tet, model=mlp_lif")
    own = "{bptt: [], own: ['learning={type: decayed}']}"
    common = "[trainer.max_epochs=1, trainer.accelerator=cpu, monitors=null, plots=null]"
    text = f"# snnlab bench suite=rules\n# Rules.\n{short}methods: {own}\nseeds: [0]\ncommon: {common}\nengine: here\n"
    (workplace / "mine" / "suite" / "rules.yaml").write_text(text)
    done = snnlab("bench", "suite=rules", "--config-dir", "mine", "plugins=[my_decayed_rule]")
    assert done.status == 0, done.err
    assert {cell["method"]: cell["status"] for cell in states(workplace / "outputs" / "suite_rules")} == {
        "bptt": "completed",
        "own": "completed",
    }


@in_a_browser
def test_a_browser_shows_the_page_of_a_suite_and_a_click_sorts_a_table(bench: Bench, tmp_path: Path):
    page = Path(shutil.copy(bench.folder / "report.html", tmp_path))
    shown, complaints = seen(page, COUNT.removesuffix("</body>") + clicks("parameters"))
    assert complaints == ""
    assert f"<title>decoded {page.read_text().count('<img')}</title>" in shown
    table = next(part for part in shown.split("<table") if 'aria-sort="descending"' in part)
    assert re.findall("<td>(linear|lif)", table.partition("</table>")[0]) == ["lif", "linear"]


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (("suite=wrong", "--config-dir", "mine"), ("model=mlp_liff", "file")),
        (("suite=smoke", "folder=run"), ("folder", "run")),
        (("suite=smoke", "trainer.max_epoch=3"), ("trainer.max_epoch", "max_epochs")),
        (("suite=smoke", "threads=0"), ("threads", 1, 0)),
        (("suite=smook",), ("suite=smook", "smoke")),
        (
            ("suite=bits_sequences", "methods=[trained_4]", "datasets=[smnist_brf]"),
            ("datasets", "trained_4", "psmnist"),
        ),
    ],
)
def test_a_mistake_is_found_before_anything_runs(workplace: Path, snnlab: Snnlab, words: tuple[str, ...], facts: tuple):
    (workplace / "run" / "checkpoints").mkdir(parents=True)
    (workplace / "run" / "config.yaml").write_text("")
    (workplace / "mine" / "suite").mkdir(parents=True)
    text = "methods: {good: [model=mlp_lif], bad: [model=mlp_liff]}\ndatasets: {p: [data=spike_patterns]}\n"
    (workplace / "mine" / "suite" / "wrong.yaml").write_text(text)
    before = set(workplace.rglob("*"))
    done = snnlab("bench", *words)
    assert done.status == 2
    assert_error_has(done.error, *facts)
    assert "  | " not in done.err
    assert words[1:2] != ("--config-dir",) or set(workplace.rglob("*")) == before


def test_a_dry_run_prints_which_methods_do_not_build(workplace: Path, snnlab: Snnlab):
    (workplace / "suite").mkdir()
    methods = (
        "{good: [model=mlp_lif], bad: [model=mlp_liff], tuned: {overrides: [], tune: {space: {optimizer.lrr: [1]}}}}"
    )
    text = f"methods: {methods}\ndatasets: {{p: [data=spike_patterns]}}\n"
    text += "tune: {trials: 1, space: {optimizer.lr: [1]}}\n"
    (workplace / "suite" / "mine.yaml").write_text(text)
    done = snnlab("bench", "suite=mine", "--config-dir", str(workplace), "--dry-run")
    lines = done.out.splitlines()
    assert done.status == 0
    assert lines[2] == "  good: 0 of 3 done"
    assert [line.partition(": ")[0].split() for line in lines[5:7]] == [["bad", "on", "p"], ["tuned", "on", "p"]]
    assert_text_has(lines[6], "tuned", "p: tune.space: optimizer", "'lrr'")


def test_a_suite_is_copied_to_be_changed(workplace: Path, snnlab: Snnlab):
    copied = snnlab("cp", "suite/smoke", "mine/suite/own.yaml")
    assert copied.out == "snnlab bench --config-dir mine suite=own\n"
    assert "recurrent: 0 of 5 done" in snnlab(*copied.out.split()[1:], "--dry-run").out
