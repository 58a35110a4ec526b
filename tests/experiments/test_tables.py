"""Tables in all formats: ranked, with intervals, remarks and published results."""

from __future__ import annotations

import csv
import json
import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from snnlab.cli.main import run
from snnlab.errors import ConfigError, RunFolderError
from snnlab.experiments.suite_table import print_table, read_table, remarks, tables, write_tables

from ..refusals import assert_lines_have, assert_raises, assert_text_has
from .making import make_run, make_suite

PUBLISHED: list[dict[str, Any]] = [
    {"name": "Theirs & 50%", "accuracy": 99.5, "selection": "test", "source": "doi:1"},
    {"name": "Careful", "accuracy": 91.0, "selection": "validation"},
    {"name": "Silent", "accuracy": 92.0},
]
ENOUGH = {"dataset": "digits", "architecture": "2 layers", "steps": 10, "params": 12_000, "protocol": "one seed"}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    methods = {"worst": [0.5, 0.5, 0.49, 0.51], "best": [0.91, 0.9, 0.89, 0.9], "as_good": [0.9, 0.9, 0.89, 0.89]}
    controls = [
        {"name": "shuffled_labels", "dataset": "digits", "method": "best", "passed": True, "said": "25.0% | chance"}
    ]
    command = "snnlab bench suite=mine methods=[worst,best]"
    page = {"published": [{**ENOUGH, **node} for node in PUBLISHED], "command": command}
    return make_suite(tmp_path / "s", methods, seeds=range(4), page=page, state={"controls": controls})


def test_rows_are_ranked_and_ties_are_marked(suite: Path):
    (part,) = read_table(suite).parts
    assert [row.method for row in part.rows] == ["best", "as_good", "worst"]
    assert [part.rank(row) for row in part.rows] == ["1", "2 ≈", "3"]
    assert [pair.significant for pair in part.neighbours] == [False, True]
    assert [(pair.worse, pair.significant) for pair in part.against_best] == [("as_good", False), ("worst", True)]
    assert_text_has("\n".join(remarks(part)), "best: as_good")
    assert_text_has(part.neighbours[0].said, "best against as_good")
    assert_text_has(part.neighbours[1].said, "as_good", "better", "worst: +39.5 points")


def test_the_difference_to_the_first_row_has_an_interval_and_the_mark_of_its_verdict(suite: Path):
    (part,) = read_table(suite).parts
    table = tables(part)[0]
    place = next(number for number, head in enumerate(table.head) if head.startswith("difference"))
    first, as_good, worst = (row[place] for row in table.rows)
    assert (first, as_good.split()[0], as_good[-1], worst.split()[0], worst[-1]) == ("", "-0.5", "≈", "-40.0", ")")
    low, high = map(float, re.findall(r"\((\S+) to (\S+)\)", worst)[0])
    assert low < -40 < high < 0
    lines = list(csv.DictReader((write_tables(suite)[1]).read_text().splitlines()))
    assert float(lines[2]["difference_to_first"]) == pytest.approx(-0.4)
    assert float(lines[2]["difference_to_first_low"]) == pytest.approx(low / 100, abs=0.0006)


@pytest.mark.parametrize(
    "each",
    [[0.98, 0.1, 0.97, 0.96], [0.98, 0.98, 0.1, 0.1], [0.9, 0.5, 0.4, 0.2], [0.9, 0.7, 0.9]],
)
def test_uneven_seeds_show_each_seed_median_and_range(tmp_path: Path, each: list[float]):
    folder = make_suite(
        tmp_path / "s", {"torn": each, "even": [0.86, 0.82, 0.8, 0.78][: len(each)]}, seeds=range(len(each))
    )
    rows = {row.method: row for row in read_table(folder).parts[0].rows}
    table = tables(read_table(folder).parts[0])[0]
    torn, even = (
        dict(zip(table.head, row, strict=True)) for name in ("torn", "even") for row in table.rows if row[1] == name
    )
    assert torn["test accuracy (%)"] == f"median {100 * statistics.median(each):.1f}"
    assert torn["95 % interval"] == f"range {100 * min(each):.1f} to {100 * max(each):.1f}"
    assert_text_has(torn["flags"], *(f"{100 * value:.1f}" for value in each))
    assert (rows["torn"].values["test_accuracy"].low, even["flags"]) == (None, "")
    assert "±" in even["test accuracy (%)"]


def test_many_methods_have_marks_in_place_of_sentences_and_one_seed_is_named(tmp_path: Path):
    methods = {f"method{place}": [0.9 - 0.3 * (place > 7)] for place in range(10)}
    said = remarks(read_table(make_suite(tmp_path / "s", methods, seeds=(0,))).parts[0])
    assert_text_has(said[1], "method0: method1, method2")
    assert_lines_have(said[2:], ("method7", "better", "method8", "seed 0"))


def test_fewer_than_four_seeds_rank_and_give_no_verdict(tmp_path: Path):
    (part,) = read_table(make_suite(tmp_path / "s", {"a": [0.9, 0.91, 0.92], "b": [0.5, 0.51, 0.52]})).parts
    assert [part.rank(row) for row in part.rows] == ["1", "2 ?"]
    assert part.neighbours[0].significant is None
    assert part.against_best[0].difference_text == "-40.0 ?"
    assert_text_has(part.neighbours[0].said, "no", "verdict")
    assert "+40.0 points" in part.neighbours[0].said


def test_p_is_adjusted_for_all_pairs_and_for_earlier_looks(tmp_path: Path):
    methods = {"a": [0.9, 0.91, 0.92, 0.9, 0.9], "b": [0.82, 0.83, 0.84, 0.82, 0.82]}
    folder = make_suite(tmp_path / "s", methods, seeds=range(5))
    once = p_of(folder)
    looked = {"looks": {"digits": [{"a": 3, "b": 3}, {"a": 4, "b": 4}, {"a": 5, "b": 5}]}}
    state = json.loads((folder / "suite.json").read_text())
    (folder / "suite.json").write_text(json.dumps({**state, **looked}))
    assert p_of(folder) == pytest.approx(4 * once, rel=0.1)  # with 4 and with 5 seeds: with 3 there was no verdict
    more = make_suite(tmp_path / "more", {**methods, "c": [0.5] * 5, "d": [0.4] * 5}, seeds=range(5))
    assert p_of(more) == pytest.approx(once, rel=0.1)  # the largest of six by Holm: the other five are far smaller


def p_of(folder: Path) -> float:
    """Return the p-value of the best row of a suite's table against the next one."""
    said = read_table(folder).parts[0].neighbours[0].said
    return float(re.findall(r"p ([0-9.e-]+)", said)[0])


def test_methods_of_other_recordings_are_not_compared(suite: Path):
    for seed in range(4):
        path = suite / f"runs/digits/best/{seed}/result.json"
        path.write_text(path.read_text().replace('"abc"', '"other"'))
    (part,) = read_table(suite).parts
    assert part.neighbours[0].significant is None
    assert_text_has(part.neighbours[0].said, "best", "as_good: not compared")


def test_markdown_has_numbers_protocol_and_controls(suite: Path):
    text = next(path for path in write_tables(suite) if path.suffix == ".md").read_text()
    assert "| 1 | best | 4/4 | 90.0 ± 0.8 |" in text
    assert "| 1 | best | 2 M | 100 k | 200 k | 640 |" in text  # 0.1 M x 4.6 pJ + 0.2 M x 0.9 pJ
    assert "0.0 ± 0.0 | 90.0 ± 1.0 |" not in text
    assert_text_has(text, "- **sizes**: 900", 100, 200)
    assert_text_has(text, r"- shuffled\_labels", "passed", r"25.0% \| chance")


def test_accuracy_against_time_is_that_of_recordings_that_end_earlier(suite: Path):
    (part,) = read_table(suite).parts
    values = part.rows[0].values
    assert values["accuracy_at_25"].mean == pytest.approx(0.25)  # the class 0 of four
    assert values["accuracy_at_75"].mean == pytest.approx(0.9)


def test_the_time_of_an_interrupted_run_is_its_total(tmp_path: Path):
    suite = make_suite(tmp_path / "s", {"a": [0.9]}, seeds=(0,))
    assert read_table(suite).parts[0].rows[0].values["wall_s"].mean == 20.0
    path = suite / "runs/digits/a/0/result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "resumed": [{"epoch": 1}]}))
    assert read_table(suite).parts[0].rows[0].values["wall_s"].mean == 12.5


def test_published_results_are_not_ranked_and_faint_where_the_test_chose_them(suite: Path):
    (part,) = read_table(suite).parts
    table = tables(part)[-1]
    assert [row[0] for row in table.rows] == ["Theirs & 50%", "Silent", "Careful"]
    assert table.faint == [0, 1]
    assert [row[6].split(":")[0] for row in table.rows] == ["test", "unknown", "validation"]
    assert all(row.method not in ("Careful", "Silent") for row in part.rows)


@pytest.mark.parametrize(
    ("each", "margin", "number", "fact"),
    [
        ([90.0, 89.0, 91.0, 90.0], 3.0, 4, "agree within 3 points"),
        ([90.0, 89.0, 91.0, 90.0], 0.5, 4, "agreement not shown"),
        ([80.0, 81.0, 79.0], 3.0, 4, "agreement not shown"),
        ([90.0, 91.0], 3.0, 5, "4 of 5 seeds"),
    ],
)
def test_a_method_agrees_with_a_published_one_within_a_margin_and_not_before_all_seeds(
    tmp_path: Path, each: list[float], margin: float, number: int, fact: str
):
    node = {**ENOUGH, "name": "Five", "accuracy": 90.0, "methods": ["ours"], "each": each, "margin": margin}
    page = {"published": [node], "seeds": list(range(number))}
    part = read_table(make_suite(tmp_path / "s", {"ours": [0.9, 0.91, 0.89, 0.9]}, seeds=range(4), page=page)).parts[0]
    said = [line for line in remarks(part) if "published Five" in line]
    assert len(said) == 1
    assert_text_has(said[0], fact)


def test_labels_over_time_have_a_balanced_accuracy_and_the_jackknifes_interval(tmp_path: Path):
    folder, rng = make_suite(tmp_path / "s", {"one": [0.5]}, seeds=[0]), np.random.default_rng(0)
    targets = np.where(rng.random((30, 200)) < 0.1, -100, rng.choice(3, (30, 200), p=[0.8, 0.1, 0.1]))
    answers = np.where(rng.random((30, 200)) < 0.7 + 0.2 * rng.random((30, 1)), targets.clip(0), 2)
    arrays = {"recording": np.arange(30), "target": targets, "readout": np.eye(3)[answers], "answers": answers}
    np.savez(folder / "runs/digits/one/0/predictions.npz", **{f"test_{key}": one for key, one in arrays.items()})
    (part,) = read_table(folder).parts
    found, there = part.rows[0].values, targets >= 0
    assert found["balanced_accuracy"].mean == pytest.approx(
        np.mean([(answers == targets)[targets == number].mean() for number in range(3)])
    )
    right, kept = (answers == targets) & there, np.arange(30)
    without = np.array([right[kept != k].sum() / there[kept != k].sum() for k in kept])
    error = np.sqrt(29 / 30 * ((without - without.mean()) ** 2).sum())
    low, high = found["test_accuracy"].low, found["test_accuracy"].high
    assert low is not None
    assert high is not None
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 29) * error, rel=0.02)
    assert "balanced (%)" in tables(part)[0].head


def test_incomplete_published_results_are_not_shown(tmp_path: Path):
    page = {"published": [{**ENOUGH, "name": "Bare", "accuracy": 99.0, "params": None, "steps": None}]}
    table = read_table(make_suite(tmp_path / "s", {"a": [0.9]}, seeds=(0,), page=page))
    assert not table.parts[0].published
    assert_lines_have(table.problems, ("published: Bare", "steps, params"))


def test_csv_has_a_line_per_method_with_plain_numbers(suite: Path):
    path = next(path for path in write_tables(suite) if path.suffix == ".csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["best", "as_good", "worst", "Theirs & 50%", "Silent", "Careful"]
    assert float(rows[0]["test_accuracy"]) == pytest.approx(0.9)
    assert float(rows[0]["test_accuracy_low"]) < 0.9 < float(rows[0]["test_accuracy_high"])
    assert rows[0]["wall_s"] == "20"
    assert (rows[3]["role"], rows[3]["rank"]) == ("published", "")


def test_json_has_what_a_program_needs(suite: Path):
    path = next(path for path in write_tables(suite) if path.suffix == ".json")
    page = json.loads(path.read_text())
    assert page["schema"] == 1
    (part,) = page["datasets"]
    row = part["rows"][0]
    assert {
        "rank",
        "dataset",
        "method",
        "role",
        "seeds",
        "asked",
        "failed",
        "values",
        "flags",
        "note",
        "differs",
    } == set(row)
    assert row["values"]["test_accuracy"]["n"] == 4
    assert set(row["values"]["params"]) == {"n", "mean", "sd", "low", "high", "each"}
    assert {column["of"] for column in page["columns"]} >= set(row["values"])
    assert_text_has(part["protocol"]["clock"], "320 ms", "8 steps", "40 ms")
    assert page["energy"]["mac_pj"] == 4.6
    assert all(one["ranked"] is False for one in part["published"])


def test_latex_has_nothing_that_it_would_take_for_a_command(suite: Path):
    text = next(path for path in write_tables(suite) if path.suffix == ".tex").read_text()
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert r"as\_good" in text
    assert r"\textcolor{gray}{Theirs \& 50\%}" in text
    # In a line every % and _ is escaped, and & parts as many columns as the table has.
    assert not re.search(r"(?<!\\)[%_#]", "\n".join(body))
    columns = 0
    for line in body:
        if found := re.match(r"\\begin{tabular}{(\w+)}", line):
            columns = len(found[1])
        elif line.endswith(r" \\"):
            assert len(re.findall(r"(?<!\\)&", line)) == columns - 1
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert text.isascii() or set(re.findall(r"[^\x00-\x7f]", text)) <= {"é"}


def test_the_console_shows_rows_protocol_and_controls(suite: Path, capsys: pytest.CaptureFixture[str]):
    print_table(suite)
    out = capsys.readouterr().out
    assert "90.0 ± 0.8" in out
    assert_text_has(out, "cannot tell (")
    assert "stratified 0.1" in out
    assert "snnlab bench suite=mine methods=[worst,best]" in out
    assert_text_has(out, "control shuffled_labels", "passed", "25.0%")


def test_best_on_test_is_shown_only_on_request_as_no_valid_result(suite: Path, capsys: pytest.CaptureFixture[str]):
    for seed in range(4):
        (suite / f"runs/digits/best/{seed}/metrics.csv").write_text("epoch,test/accuracy\n0,0.5\n1,0.99\n")
    assert run("bench", "table", str(suite), "--format", "md") == 0
    assert "best on" not in capsys.readouterr().out
    assert run("bench", "table", str(suite), "--format", "md", "--best-on-test") == 0
    out = capsys.readouterr().out
    assert_text_has(out, "test (%), not")
    assert_text_has(out, "no valid result")
    assert "99.0 ± 0.0" in out


def test_the_last_epochs_test_stands_next_to_the_chosen_ones(tmp_path: Path):
    make_run(tmp_path / "x/0_0", metrics={"last/test/accuracy": 0.75})
    table = tables(read_table(tmp_path).parts[0])[0]
    assert dict(zip(table.head, table.rows[0], strict=True))["last epoch, test (%)"] == "75.0"


def test_values_are_ranked_by_their_error(tmp_path: Path):
    for place, (lr, error) in enumerate([(0.1, 3.0), (0.2, 2.0)]):
        folder = make_run(tmp_path / f"x/{place}_0", config={"optimizer": {"lr": lr}})
        page = json.loads((folder / "result.json").read_text())
        page["metrics"] = {"test/mae": error, "test/r2": 0.5, "params": 3.0}
        (folder / "result.json").write_text(json.dumps(page))
    (part,) = read_table(tmp_path).parts
    assert [row.method for row in part.rows] == ["optimizer.lr=0.2", "optimizer.lr=0.1"]
    assert tables(part)[0].rows[0][3:5] == ["2", "0.500"]


def test_energy_takes_the_suites_constants_and_refuses_others(tmp_path: Path):
    suite = make_suite(tmp_path / "s", {"a": [0.9]}, seeds=(0,), page={"energy": {"mac_pj": 1.0, "ac_pj": 0.5}})
    assert read_table(suite).parts[0].rows[0].values["energy_nj"].mean == pytest.approx(200.0)
    wrong = make_suite(tmp_path / "t", {"a": [0.9]}, seeds=(0,), page={"energy": {"mac_pj": 1.0, "acs": 0.5}})
    with assert_raises(RunFolderError, "t/suite.yaml.energy", "acs"):
        read_table(wrong)


def test_the_command_says_what_it_takes(tmp_path: Path, suite: Path, capsys: pytest.CaptureFixture[str]):
    with assert_raises(ConfigError, "bench table", "FOLDER"):
        run("bench", "table", "--best-on-test")
    with assert_raises(ConfigError, "--format", "md, csv, json, tex", "pdf"):
        run("bench", "table", str(suite), "--format", "pdf")
    with assert_raises(RunFolderError, "bench table", "folder"):
        run("bench", "table", str(tmp_path / "nowhere"))
    assert run("bench", "table", str(suite), "--format=json") == 0
    assert json.loads(capsys.readouterr().out)["name"] == "mine"


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Return a suite of two methods on two datasets; one method is on one dataset only."""
    methods = {"lif": {"overrides": []}, "gru": {"overrides": [], "role": "baseline", "datasets": ["digits"]}}
    page = {"methods": methods, "datasets": {"digits": [], "gestures": []}}
    folder = make_suite(tmp_path / "two", {"lif": [0.9, 0.8], "gru": [0.7, 0.75]}, seeds=(0, 1), page=page)
    make_run(folder / "runs/gestures/lif/0", 0, 0.6)
    return folder


def test_a_papers_table_has_chosen_columns_and_datasets_as_columns(two: Path, capsys: pytest.CaptureFixture[str]):
    assert run("bench", "table", str(two), "--by", "dataset", "--format", "csv") == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert rows == [
        ["method", "digits", "gestures"],
        ["lif †", "85.0 ± 7.1", "60.0"],
        ["gru (baseline)", "72.5 ± 3.5", ""],
    ]
    assert (
        run("bench", "table", str(two), "--columns", "test_accuracy,params", "--by", "dataset", "--format", "json") == 0
    )
    page = json.loads(capsys.readouterr().out)
    (table,) = page["tables"]
    assert table["columns"][1:3] == ["digits, test accuracy (%)", "digits, parameters"]
    assert page["notes"][1:] == ["† lif on gestures: seed 1 missing"]


@pytest.mark.parametrize("form", [None, "md", "tex", "csv"])
def test_without_a_dataset_as_column_each_has_a_table(two: Path, capsys: pytest.CaptureFixture[str], form: str | None):
    options = [] if form is None else ["--format", form]
    assert run("bench", "table", str(two), "--columns", "params", *options) == 0
    out = capsys.readouterr().out
    assert out.count("parameters") == 2
    assert "accuracy" not in out
    assert form == "csv" or "seed 1 missing" in out  # flags are in every format that people read


@pytest.mark.parametrize(
    ("options", "facts"),
    [(["--columns", "parms"], ("bench table", "params")), (["--by", "method"], ("--by", "method"))],
)
def test_a_column_that_there_is_not_is_named(two: Path, options: list[str], facts: tuple):
    with assert_raises(ConfigError, *facts):
        run("bench", "table", str(two), *options)
