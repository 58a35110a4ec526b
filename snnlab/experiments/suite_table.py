"""The tables of a suite or a folder of runs: methods ranked on each dataset, with their significant differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snnlab.console import say
from snnlab.errors import ConfigError, RunFolderError, did_you_mean, join_names
from snnlab.experiments.suite_protocol import ProtocolField, flags, protocol
from snnlab.experiments.suite_reading import GIVEN, Energy, MethodInfo, RecordedSuite, SuiteRun, latest_per_seed, read
from snnlab.experiments.suite_statistics import (
    COLUMNS,
    Column,
    MethodRow,
    PublishedResult,
    published_results,
    run_statistics,
    summarize_seeds,
)
from snnlab.experiments.verdicts import (
    CountLooks,
    MethodResults,
    method_results,
    verdicts,
)
from snnlab.files import json_text, unwritable, write_text
from snnlab.runs.runs_table import group_by
from snnlab.runs.statistics import MIN_SEEDS, SeedSummary, agreement, uneven
from snnlab.runs.tables import Table, csv_text, render, short_number

SCHEMA = 1
TABLE = "table.md"


class Comparison(NamedTuple):
    """The comparison of two methods.

    Attributes:
        better: The method with the better result.
        worse: The other method.
        significant: Whether the difference is significant; None if there is no verdict.
        said: The verdict as a sentence.
        difference: The difference of their mean accuracies, of the worse to the better one; None if they were not
            tested on the same recordings.
        low: Lower end of its 95 % interval; None without a verdict.
        high: Upper end.
    """

    better: str
    worse: str
    significant: bool | None
    said: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def mark(self) -> str:
        """The mark of a difference that no verdict tells from zero: ≈ with a verdict, ? without one; else ""."""
        return {True: "", False: "≈", None: "?"}[self.significant]

    @property
    def difference_text(self) -> str:
        """The difference in points with its interval, and its mark; "" if there is none."""
        if self.difference is None:
            return ""
        ends = "" if self.low is None or self.high is None else f" ({100 * self.low:+.1f} to {100 * self.high:+.1f})"
        return f"{100 * self.difference:+.1f}{ends} {self.mark}".rstrip()

    def record(self) -> dict[str, Any]:
        """Return the comparison for JSON."""
        pair = {"better": self.better, "worse": self.worse, "told": self.significant, "said": self.said}
        return {**pair, "difference": self.difference, "low": self.low, "high": self.high}


class DatasetTables(NamedTuple):
    """The tables of one dataset.

    Attributes:
        rows: The methods, the best first.
        neighbours: Each row compared with the next one.
        published: Published results of others; they are not ranked.
        protocol: The conditions of the results.
        against_best: The best row compared with each other row.
        given: The methods whose weights were given, the best first: they are evaluated here, trained elsewhere, and
            neither ranked nor compared.
    """

    dataset: str
    rows: Sequence[MethodRow]
    neighbours: Sequence[Comparison]
    published: Sequence[PublishedResult]
    protocol: Sequence[ProtocolField]
    against_best: Sequence[Comparison]
    given: Sequence[MethodRow] = ()

    def rank(self, row: MethodRow) -> str:
        """Return a row's rank, with the mark of its comparison with the row above; "" without a result."""
        mark = next((pair.mark for pair in self.neighbours if pair.worse == row.method), "")
        if row.role == GIVEN or not row.sort_key[0]:
            return ""
        return f"{self.rows.index(row) + 1} {mark}".rstrip()


class SuiteTable(NamedTuple):
    """The tables of all datasets of a suite, or of a folder of runs.

    Attributes:
        controls: {name, dataset, method, passed, said} each.
        energy: Constants of the energy estimate.
        problems: What could not be read or shown, a line each.
        command: The command that started the suite and continues it, or None.
    """

    name: str
    parts: Sequence[DatasetTables]
    controls: Sequence[Any]
    energy: Energy
    problems: Sequence[str]
    command: str | None = None

    def record(self) -> dict[str, Any]:
        """Return the table for JSON; accuracies are fractions in 0..1."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "columns": [{"key": c.key, "of": c.statistic, "heading": c.heading, "about": c.about} for c in COLUMNS],
            "datasets": [
                {
                    "dataset": part.dataset,
                    "rows": [{"rank": part.rank(row), **row.record()} for row in part.rows],
                    "given": [row.record() for row in part.given],
                    "neighbours": [pair.record() for pair in part.neighbours],
                    "against_best": [pair.record() for pair in part.against_best],
                    "published": [{**one._asdict(), "ranked": False} for one in part.published],
                    "protocol": {entry.about: entry.said for entry in part.protocol},
                }
                for part in self.parts
            ],
            "controls": [dict(one) for one in self.controls],
            "energy": vars(self.energy),
            "problems": list(self.problems),
        }


def read_table(folder: Path, best_on_test: bool = False) -> SuiteTable:
    """Read a suite's folder, or a folder of runs, which are grouped by all settings except the seed.

    Args:
        best_on_test: Whether to add the best epoch on the test recordings, which is no valid result.

    Raises:
        RunFolderError: if it has no run that can be read.
    """
    found = read(folder)
    problems, parts = list(found.problems), []
    for dataset, runs in group_by(found.runs, lambda run: run.dataset).items():
        others, lacking = published_results(found.published, dataset)
        problems += lacking
        apart = {name for name, method in found.methods.items() if method.role == GIVEN}
        rows, given = (
            _method_rows(found, dataset, [run for run in runs if (run.method in apart) is kind], best_on_test)
            for kind in (False, True)
        )
        neighbours, against_best = _compare(rows, partial(_number_of_looks, found.looks.get(dataset, ())))
        said = protocol(found, [*rows, *given])
        parts.append(DatasetTables(dataset, rows, neighbours, others, said, against_best, given))
    return SuiteTable(found.name, parts, found.controls, found.energy, problems, found.command)


def _method_rows(found: RecordedSuite, dataset: str, runs: Sequence[SuiteRun], best_on_test: bool) -> list[MethodRow]:
    of_method = {method: latest_per_seed(of) for method, of in group_by(runs, lambda run: run.method).items()}
    peers = [run for runs, _ in of_method.values() for run in runs if run.tested]
    rows = [_method_row(found, dataset, method, *of, peers, best_on_test) for method, of in of_method.items()]
    return sorted(rows, key=lambda row: row.sort_key, reverse=True)


def _method_row(
    found: RecordedSuite,
    dataset: str,
    name: str,
    runs: list[SuiteRun],
    repeated_seeds: list[int],
    peers: list[SuiteRun],
    best_on_test: bool,
) -> MethodRow:
    tested = [run for run in runs if run.tested]
    method = found.methods.get(name) or MethodInfo()
    each = [run_statistics(run, found.energy, best_on_test) for run in tested]
    # A statistic that some of the seeds lack says nothing of the method.
    keys = [key for key in (each[0] if each else ()) if all(key in one for one in each)]
    values = {key: summarize_seeds([one[key] for one in each]) for key in keys}
    answers = _test_results(name, tested)
    if "test_accuracy" in values:
        # The interval for new seeds and new recordings, if predictions were recorded.
        between = answers.interval if isinstance(answers, MethodResults) else None
        low, high = (None, None) if between is None or uneven(values["test_accuracy"].each) else between
        values["test_accuracy"] = values["test_accuracy"]._replace(low=low, high=high)
    seeds, failed = [run.seed for run in tested], sum(run.status == "failed" for run in runs)
    flagged = [*_uneven_flags(values), *flags(found, dataset, runs, peers, repeated_seeds)]
    return MethodRow(
        dataset,
        name,
        method.role,
        seeds,
        len(runs),
        failed,
        values,
        flagged,
        method.note,
        method.differs,
        runs,
        answers,
    )


def _uneven_flags(values: Mapping[str, SeedSummary]) -> list[str]:
    if "test_accuracy" not in values or not uneven(values["test_accuracy"].each):
        return []
    each = " ".join(f"{100 * value:.1f}" for value in values["test_accuracy"].each)
    return [f"uneven seeds ({each}): median and range in place of mean and interval"]


def _test_results(name: str, tested: Sequence[SuiteRun]) -> MethodResults | str:
    if not tested:
        return "it was not tested"
    try:
        return method_results(name, [run.recorded for run in tested if run.recorded is not None])
    except (RunFolderError, KeyError) as error:
        return str(error)


def _compare(rows: Sequence[MethodRow], looks: CountLooks) -> tuple[list[Comparison], list[Comparison]]:
    """Return each row compared with the next one, and the best compared with each other one.

    The results choose the pairs that are shown, so p is adjusted for the comparisons of all pairs. Rows without
    accuracy are left out.
    """
    methods = {row.method: row.test_results for row in rows if "test_accuracy" in row.values}
    comparable = [method for method in methods.values() if isinstance(method, MethodResults)]

    def same_test(one: MethodResults, other: MethodResults) -> bool:
        return one.data == other.data and np.array_equal(one.recordings, other.recordings)

    found = {(each.one.name, each.other.name): each for each in verdicts(comparable, same_test, looks)}

    def compared(pair: tuple[str, str]) -> Comparison:
        if (verdict := found.get(pair)) is not None:
            effect, low, high = verdict.difference.effect, verdict.difference.low, verdict.difference.high
            if verdict.difference.no_verdict_reason is not None:
                return Comparison(*pair, None, verdict.sentence, -effect)
            return Comparison(*pair, verdict.significant, verdict.sentence, -effect, -high, -low)
        reasons = [each for each in (methods[pair[0]], methods[pair[1]]) if isinstance(each, str)]
        why = f" ({reasons[0]})" if reasons else ": they were tested on other recordings"
        return Comparison(*pair, None, f"{pair[0]} and {pair[1]}: not compared{why}")

    names = list(methods)
    return [compared(pair) for pair in pairwise(names)], [compared((names[0], name)) for name in names[1:]]


def _number_of_looks(looks: Sequence[Mapping[str, int]], one: MethodResults, other: MethodResults) -> int:
    """Return the number of distinct pairs of seed numbers at which two methods were compared.

    These are the earlier pairs with at least `MIN_SEEDS` each, and the present one.

    Args:
        looks: The number of seeds of each method at each earlier look.
        one: The first method.
        other: The second method.
    """
    earlier = {(seeds.get(one.name, 0), seeds.get(other.name, 0)) for seeds in looks}
    with_verdict = {pair for pair in earlier if min(pair) >= MIN_SEEDS}
    return len(with_verdict | {(len(one.seeds), len(other.seeds))})


TIED = "≈: these seeds and recordings show no significant difference to the row above, which does not make them equal."
NO_VERDICT = "?: no verdict on the difference to the row above."
BEST_ON_TEST = (
    "best on test: the best of the tested epochs, chosen on the test recordings; it is no valid result and not"
    " comparable with one."
)
EVALUATED = "given weights, evaluated here, not ranked"
# The verdict of a control; controls that only give numbers have none.
VERDICTS: Mapping[object, str] = {True: "passed", False: "FAILED"}
# Up to this number of rows, each row's comparison with the next one is written as a sentence.
_MAX_SENTENCES = 8
_TITLES = {
    "accuracy": "",
    "time": ": accuracy (%) if recordings ended earlier",
    "cost": ": cost",
    "operations": ": synaptic operations and energy",
}
_DIFFERENCE = "difference of means to the first row (points)"
_FIRST = ("dataset", "rank", "method", "role", "seeds", "asked", "failed")
_LAST = ("flags", "note")


def tables(part: DatasetTables) -> list[Table]:
    """Return a dataset's tables: accuracy, cost, synaptic operations, and published results."""
    made = [_statistics_table(part, about) for about in _TITLES]
    if part.given:
        apart = part._replace(dataset=f"{part.dataset}: {EVALUATED}", rows=part.given, neighbours=())
        made += [_statistics_table(apart, about) for about in ("accuracy", "cost")]
    return [table for table in made if len(table.head) > 2] + ([_published_table(part)] if part.published else [])


def remarks(part: DatasetTables) -> list[str]:
    """Return the notes below a dataset's tables."""
    notes = [f"{row.method}: {row.note}" for row in (*part.rows, *part.given) if row.note]
    if any(pair.significant is False for pair in part.neighbours):
        notes.append(TIED)
    if any(pair.significant is None for pair in part.neighbours):
        notes.append(NO_VERDICT)
    for significant, what in ((False, "No significant difference to"), (None, "No verdict against")):
        if level := [pair.worse for pair in part.against_best if pair.significant is significant]:
            notes.append(f"{what} the best, {part.against_best[0].better}: {join_names(level)}.")
    notes += agreements(part)
    # With many methods the marks replace the sentences.
    notes += [pair.said for pair in part.neighbours if len(part.rows) <= _MAX_SENTENCES or pair.significant]
    return [*notes, BEST_ON_TEST] if any("best_test_accuracy" in row.values for row in part.rows) else notes


def agreements(part: DatasetTables) -> list[str]:
    """Return for each published result that methods should agree with whether each does, as a sentence."""
    rows, said = {row.method: row for row in part.rows}, []
    for one, method in [(theirs, method) for theirs in part.published for method in theirs.methods]:
        row = rows.get(method)
        if row is None or "test_accuracy" not in row.values:
            continue
        each, what = row.values["test_accuracy"].each, f"{row.method} and the published {one.name}"
        if len(each) < row.planned or len(each) < 2:
            said.append(f"{what}: {len(each)} of {row.planned} seeds, the agreement is tested with all")
            continue
        found = agreement(each, one.each, one.margin)
        verdict = "agree" if found.shown else "agreement not shown"
        said.append(
            f"{what}: {verdict} within {100 * one.margin:g} points ({100 * found.effect:+.2f} points, 90 % interval"
            f" {100 * found.low:+.2f} to {100 * found.high:+.2f}, Welch's t of {len(each)} and {len(one.each)} runs)"
        )
    return said


def print_table(folder: Path, best_on_test: bool = False) -> None:
    """Print the tables of a suite's folder, or of a folder of runs, to stdout."""
    found = read_table(folder, best_on_test)
    for part in found.parts:
        for table in tables(part):
            table.print()
        say(*remarks(part))
        Table(("", ""), part.protocol, f"{part.dataset}: protocol", (0, 1)).print()
    say(*(f"control {line}" for line in _control_lines(found)), *found.problems)


def write_tables(folder: Path, best_on_test: bool = False) -> list[Path]:
    """Write `table.md`, `table.csv`, `table.json` and `table.tex` into a folder; return their paths.

    Args:
        folder: A suite's folder, or a folder of runs.

    Raises:
        RunFolderError: if it has no run that can be read, or it cannot be written.
    """
    found = read_table(folder, best_on_test)
    paths = {form: folder / f"table.{form}" for form in FORMATS}
    try:
        for form, path in paths.items():
            write_text(path, FORMATS[form](found))
    except OSError as error:
        raise unwritable(folder, error) from error
    return list(paths.values())


def chosen_columns(names: Sequence[str] | None, found: SuiteTable) -> list[Column]:
    """Return columns by their keys; without names the accuracy, or the mean error if there is none."""
    known = {column.key: column for column in COLUMNS}
    if names is None:
        there = {key for part in found.parts for row in part.rows for key in row.values}
        names = ["test_accuracy" if "test_accuracy" in there else "test_mae"]
    for name in names:
        if name not in known:
            near = did_you_mean(name, known)
            raise ConfigError("bench table", f"--columns: there is no column {name}", near, () if near else known)
    return [known[name] for name in names]


def paper_text(found: SuiteTable, columns: Sequence[Column], by_dataset: bool, form: str) -> str:
    """Return tables of selected columns, and below them how the numbers were measured and the flags of the rows.

    Args:
        by_dataset: Whether datasets are columns of one table; else each dataset has a table.
        form: One of `FORMATS`.
    """
    made, notes = paper_tables(found, columns, by_dataset)
    if form == "csv":
        return "\n".join(csv_text([*table.head], table.rows) for table in made)
    if form == "json":
        shown = [{"title": table.title, "columns": table.head, "rows": table.rows} for table in made]
        return json_text({"tables": shown, "notes": notes})
    return render(f"paper.{form}", tables=made, notes=notes)


def paper_tables(found: SuiteTable, columns: Sequence[Column], by_dataset: bool) -> tuple[list[Table], list[str]]:
    """Return tables of selected columns, and the notes below them."""
    rows = [row for part in found.parts for row in part.rows]
    given = [part._replace(rows=part.given) for part in found.parts if part.given]
    seeds = sorted({len(row.seeds) for row in rows})
    over = f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else f"{seeds[0]} seed{'s' if seeds[0] != 1 else ''}"
    notes = [f"Mean ± standard deviation over {over}, at the epoch that was chosen on validation recordings."]
    notes += [f"† {row.method} on {row.dataset}: {'; '.join(row.flags)}" for row in rows if row.flags]
    notes += [BEST_ON_TEST] if any(column.key == "best_test_accuracy" for column in columns) else []
    groups = _titled(found.name, found.parts, by_dataset)
    groups += [(f"{title}: {EVALUATED}", parts) for title, parts in _titled(found.name, given, by_dataset)]
    return [_paper_table(title, parts, columns, by_dataset) for title, parts in groups], notes


def _titled(name: str, parts: Sequence[DatasetTables], by_dataset: bool) -> list[tuple[str, Sequence[DatasetTables]]]:
    if not parts:
        return []
    return [(name, parts)] if by_dataset else [(part.dataset, [part]) for part in parts]


def _paper_table(title: str, parts: Sequence[DatasetTables], columns: Sequence[Column], by_dataset: bool) -> Table:
    rows = [{row.method: row for row in part.rows} for part in parts]
    methods = list(dict.fromkeys(row.method for part in parts for row in part.rows))
    head = [f"{part.dataset}, {c.heading}" if by_dataset else c.heading for part in parts for c in columns]
    if by_dataset and len(columns) == 1:
        title, head = f"{title}: {columns[0].heading}", [part.dataset for part in parts]
    lines = [
        [_method_label(method, rows), *(_cell_text(of.get(method), c) for of in rows for c in columns)]
        for method in methods
    ]
    return Table(["method", *head], lines, title)


def _method_label(method: str, rows: Sequence[Mapping[str, MethodRow]]) -> str:
    found = [of[method] for of in rows if method in of]
    return _row_label(found[0]) + (" †" if any(row.flags for row in found) else "")


def _cell_text(row: MethodRow | None, column: Column) -> str:
    return column.text(row.values[column.statistic]) if row is not None and column.statistic in row.values else ""


def _row_label(row: MethodRow) -> str:
    return f"{row.method} (baseline)" if row.role == "baseline" else row.method


def _statistics_table(part: DatasetTables, about: str) -> Table:
    shown = [c for c in COLUMNS if c.about == about and any(_cell_text(row, c) for row in part.rows)]
    accuracy = about == "accuracy"
    flagged = accuracy and any(row.flags for row in part.rows)
    head = ["#", "method", *(["runs"] if accuracy else []), *(c.heading for c in shown)]
    compared = {pair.worse: [pair.difference_text] for pair in part.against_best} if accuracy else {}
    head += [_DIFFERENCE] if any(compared.values()) else []
    head += ["flags"] if flagged else []
    rows = []
    for row in part.rows:
        runs = [f"{len(row.seeds)}/{row.planned}"] if accuracy else []
        flags_text = ["; ".join(row.flags)] if flagged else []
        cells = [*(_cell_text(row, c) for c in shown), *(compared.get(row.method, [""]) if compared else [])]
        rows.append([part.rank(row), _row_label(row), *runs, *cells, *flags_text])
    last = [len(head) - 1] if flagged else []
    return Table(head, rows, part.dataset + _TITLES[about], [1, *last], last)


def _published_table(part: DatasetTables) -> Table:
    head = ["published", "accuracy (%)", "architecture", "T", "parameters", "protocol", "epoch chosen on", "source"]
    rows = [
        [
            *(one.name, f"{100 * one.accuracy:.1f}", one.architecture, str(one.steps)),
            *(short_number(one.params), one.protocol, one.chosen_on, one.source or ""),
        ]
        for one in part.published
    ]
    faint = [index for index, one in enumerate(part.published) if one.on_test]
    return Table(head, rows, f"{part.dataset}: published by others, not ranked", [0, 2, 5, 6, 7], [5, 6, 7], faint)


def _control_lines(found: SuiteTable) -> list[str]:
    lines = []
    for one in found.controls:
        verdict = VERDICTS.get(one.get("passed"))
        where = " ".join(str(one[key]) for key in ("dataset", "method") if one.get(key))
        lines.append(f"{one.get('name')} ({where}): {f'{verdict}: ' if verdict else ''}{one.get('said')}")
    return lines


def _template_writer(template: str) -> Callable[[SuiteTable], str]:
    def text(found: SuiteTable) -> str:
        lists = {"Controls": _control_lines(found), "Not shown": found.problems}
        return render(template, table=found, tables=tables, remarks=remarks, lists=lists)

    return text


def _csv(found: SuiteTable) -> str:
    """Return a line for each method on each dataset, and for each published result; accuracies in 0..1."""
    rows: list[dict[str, Any]] = []
    for part in found.parts:
        rows += [*_method_lines(part), *(_published_line(part.dataset, one) for one in part.published)]
    known = dict.fromkeys(key for line in rows for key in line)
    return csv_text([*_FIRST, *(key for key in known if key not in (*_FIRST, *_LAST)), *_LAST], rows)


def _method_lines(part: DatasetTables) -> list[dict[str, Any]]:
    lines, compared = [], {pair.worse: pair for pair in part.against_best}
    for row in (*part.rows, *part.given):
        line = {
            **{
                "dataset": row.dataset,
                "rank": part.rank(row),
                "method": row.method,
                "role": row.role,
                "asked": row.planned,
            },
            **{"seeds": " ".join(map(str, row.seeds)), "failed": row.failed},
            **{"flags": "; ".join(row.flags), "note": row.note or ""},
        }
        for column in COLUMNS:
            if (value := row.values.get(column.statistic)) is not None:
                pair = ("low", "high") if column.key.endswith("_interval") else ("", "sd")
                both = (value.low, value.high) if column.key.endswith("_interval") else (value.mean, value.sd)
                line |= {
                    f"{column.statistic}_{what}".rstrip("_"): _number_text(one)
                    for what, one in zip(pair, both, strict=True)
                }
        if (pair := compared.get(row.method)) is not None:
            parts = {"": pair.difference, "_low": pair.low, "_high": pair.high}
            line |= {f"difference_to_first{what}": _number_text(value) for what, value in parts.items()}
        lines.append(line)
    return lines


def _published_line(dataset: str, one: PublishedResult) -> dict[str, Any]:
    return {
        **{"dataset": dataset, "method": one.name, "role": "published"},
        **{"test_accuracy": _number_text(one.accuracy), "params": _number_text(one.params)},
        "flags": f"not ranked; epoch chosen on {one.chosen_on}",
        "note": f"{one.architecture}, T = {one.steps}; {one.protocol}; {one.source or 'no source'}",
    }


def _number_text(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


FORMATS: Mapping[str, Callable[[SuiteTable], str]] = {
    "md": _template_writer("suite.md"),
    "csv": _csv,
    "json": lambda found: json_text(found.record()),
    "tex": _template_writer("suite.tex"),
}


def table_text(folder: Path) -> str:
    """Return the content of a suite's `table.md`."""
    return FORMATS["md"](read_table(folder))
