"""The tables of a suite or a folder of runs: methods ranked on each dataset, with their significant differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snnlab.console import say
from snnlab.errors import ConfigError, RecordError, did_you_mean, listing
from snnlab.experiments.suite_figures import COLUMNS, Column, Published, Row, figures, published, short_number, spread
from snnlab.experiments.suite_protocol import Clause, flags, protocol
from snnlab.experiments.suite_reading import Arm, Cell, Energy, Read, newest, read
from snnlab.experiments.verdicts import Arm as Answers, Looks, arm_of, verdicts
from snnlab.files import json_text, unwritable, write_text
from snnlab.runs.runs_table import grouped
from snnlab.runs.statistics import MIN_SEEDS, accuracy_interval
from snnlab.runs.tables import Table, csv_text, render

SCHEMA = 1


class Neighbours(NamedTuple):
    """The comparison of two methods.

    Attributes:
        better: The method with the better result.
        worse: The other method.
        told: Whether the difference is significant; None if they cannot be compared.
        said: The verdict as a sentence.
    """

    better: str
    worse: str
    told: bool | None
    said: str


class Part(NamedTuple):
    """The tables of one dataset.

    Attributes:
        rows: The methods, the best first.
        neighbours: Each row compared with the next one.
        published: Published results of others; they are not ranked.
        protocol: The conditions of the results.
        behind: The best row compared with each other row.
    """

    dataset: str
    rows: Sequence[Row]
    neighbours: Sequence[Neighbours]
    published: Sequence[Published]
    protocol: Sequence[Clause]
    behind: Sequence[Neighbours]

    def rank(self, row: Row) -> str:
        """Return a row's rank, with ≈ if it does not differ significantly from the row above; "" without a result."""
        tied = any(pair.worse == row.arm and pair.told is False for pair in self.neighbours)
        return f"{self.rows.index(row) + 1}{' ≈' if tied else ''}" if row.goodness[0] else ""


class SuiteTable(NamedTuple):
    """The tables of all datasets of a suite, or of a folder of runs.

    Attributes:
        controls: {name, dataset, arm, passed, said} each.
        energy: Constants of the energy estimate.
        problems: What could not be read or shown, a line each.
        command: The command that started the suite and continues it, or None.
    """

    name: str
    parts: Sequence[Part]
    controls: Sequence[Any]
    energy: Energy
    problems: Sequence[str]
    command: str | None = None

    def record(self) -> dict[str, Any]:
        """Return the table for JSON; accuracies are fractions in 0..1."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "columns": [{"key": c.key, "of": c.of, "heading": c.heading, "about": c.about} for c in COLUMNS],
            "datasets": [
                {
                    "dataset": part.dataset,
                    "rows": [{"rank": part.rank(row), **row.record()} for row in part.rows],
                    "neighbours": [pair._asdict() for pair in part.neighbours],
                    "against_best": [pair._asdict() for pair in part.behind],
                    "published": [{**one._asdict(), "ranked": False} for one in part.published],
                    "protocol": {clause.about: clause.said for clause in part.protocol},
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
        RecordError: if it has no run that can be read.
    """
    found = read(folder)
    problems, parts = list(found.problems), []
    for dataset, cells in grouped(found.cells, lambda cell: cell.dataset).items():
        others, lacking = published(found.published, dataset)
        problems += lacking
        rows = _rows(found, dataset, cells, best_on_test)
        beside, behind = _compared(rows, partial(_times_shown, found.looks.get(dataset, ())))
        parts.append(Part(dataset, rows, beside, others, protocol(found, rows), behind))
    return SuiteTable(found.name, parts, found.controls, found.energy, problems, found.command)


def _rows(found: Read, dataset: str, cells: Sequence[Cell], best_on_test: bool) -> list[Row]:
    of_arm = {arm: newest(of) for arm, of in grouped(cells, lambda cell: cell.arm).items()}
    peers = [cell for kept, _ in of_arm.values() for cell in kept if cell.tested]
    rows = [_row(found, dataset, arm, *of, peers, best_on_test) for arm, of in of_arm.items()]
    return sorted(rows, key=lambda row: row.goodness, reverse=True)


def _row(
    found: Read, dataset: str, name: str, kept: list[Cell], twice: list[int], peers: list[Cell], best_on_test: bool
) -> Row:
    tested = [cell for cell in kept if cell.tested]
    arm = found.arms.get(name) or Arm()
    each = [figures(cell, found.energy, best_on_test) for cell in tested]
    # A statistic that some of the seeds lack says nothing of the method.
    keys = [key for key in (each[0] if each else ()) if all(key in one for one in each)]
    values = {key: spread([one[key] for one in each]) for key in keys}
    answers = _answers(name, tested)
    if "test_accuracy" in values:
        # The interval for new seeds and new recordings, if predictions were recorded.
        between = accuracy_interval(answers.right, answers.clusters) if isinstance(answers, Answers) else None
        low, high = (None, None) if between is None else between
        values["test_accuracy"] = values["test_accuracy"]._replace(low=low, high=high)
    seeds, failed = [cell.seed for cell in tested], sum(cell.status == "failed" for cell in kept)
    said = flags(found, dataset, kept, peers, twice)
    return Row(dataset, name, arm.role, seeds, len(kept), failed, values, said, arm.note, arm.differs, kept, answers)


def _answers(name: str, tested: Sequence[Cell]) -> Answers | str:
    if not tested:
        return "it was not tested"
    try:
        return arm_of(name, [cell.run for cell in tested if cell.run is not None])
    except (RecordError, KeyError) as error:
        return str(error)


def _compared(rows: Sequence[Row], looks: Looks) -> tuple[list[Neighbours], list[Neighbours]]:
    """Return each row compared with the next one, and the best compared with each other one.

    The results choose the pairs that are shown, so p is adjusted for the comparisons of all pairs. Rows without
    accuracy are left out.
    """
    arms = {row.arm: row.answers for row in rows if "test_accuracy" in row.values}
    comparable = [arm for arm in arms.values() if isinstance(arm, Answers)]

    def same_test(one: Answers, other: Answers) -> bool:
        return one.data == other.data and np.array_equal(one.recordings, other.recordings)

    found = {(each.one.name, each.other.name): each for each in verdicts(comparable, same_test, looks)}

    def said(pair: tuple[str, str]) -> Neighbours:
        if (verdict := found.get(pair)) is not None:
            return Neighbours(*pair, verdict.significant, verdict.sentence)
        reasons = [each for each in (arms[pair[0]], arms[pair[1]]) if isinstance(each, str)]
        why = f" ({reasons[0]})" if reasons else ": they were tested on other recordings"
        return Neighbours(*pair, None, f"{pair[0]} and {pair[1]}: not compared{why}")

    names = list(arms)
    return [said(pair) for pair in pairwise(names)], [said((names[0], name)) for name in names[1:]]


def _times_shown(looks: Sequence[Mapping[str, int]], one: Answers, other: Answers) -> int:
    """Return the number of interim looks at two methods, with this one; a look has other numbers of seeds than before.

    Args:
        looks: The number of seeds of each method at each earlier look.
        one: The first method.
        other: The second method.
    """
    earlier = {(seeds.get(one.name, 0), seeds.get(other.name, 0)) for seeds in looks}
    with_verdict = {pair for pair in earlier if min(pair) >= MIN_SEEDS}
    return len(with_verdict | {(len(one.seeds), len(other.seeds))})


TIED = "≈: no significant difference to the row above, or not with these seeds and recordings."
BEST_ON_TEST = (
    "best on test: the best of the tested epochs, chosen on the test recordings; it is no valid result and not"
    " comparable with one."
)
# The verdict of a control; controls that only give numbers have none.
VERDICTS: Mapping[object, str] = {True: "passed", False: "FAILED"}
# Up to this number of rows, each row's comparison with the next one is written as a sentence.
_FEW = 8
_TITLES = {
    "accuracy": "",
    "time": ": accuracy (%) if recordings ended earlier",
    "cost": ": cost",
    "operations": ": synaptic operations and energy",
}
_FIRST = ("dataset", "rank", "arm", "role", "seeds", "asked", "failed")
_LAST = ("flags", "note")


def tables(part: Part) -> list[Table]:
    """Return a dataset's tables: accuracy, cost, synaptic operations, and published results."""
    made = [_figures(part, about) for about in _TITLES]
    return [table for table in made if len(table.head) > 2] + ([_published(part)] if part.published else [])


def remarks(part: Part) -> list[str]:
    """Return the notes below a dataset's tables."""
    said = [f"{row.arm}: {row.note}" for row in part.rows if row.note]
    if any(pair.told is False for pair in part.neighbours):
        said.append(TIED)
    if level := [pair.worse for pair in part.behind if pair.told is False]:
        said.append(f"No significant difference to the best, {part.behind[0].better}: {listing(level)}.")
    # With many methods the marks replace the sentences.
    said += [pair.said for pair in part.neighbours if len(part.rows) <= _FEW or pair.told]
    return [*said, BEST_ON_TEST] if any("best_test_accuracy" in row.values for row in part.rows) else said


def print_table(folder: Path, best_on_test: bool = False) -> None:
    """Print the tables of a suite's folder, or of a folder of runs, to stdout."""
    found = read_table(folder, best_on_test)
    for part in found.parts:
        for table in tables(part):
            table.print()
        say(*remarks(part))
        Table(("", ""), part.protocol, f"{part.dataset}: protocol", (0, 1)).print()
    say(*(f"control {line}" for line in _controls(found)), *found.problems)


def write_tables(folder: Path, best_on_test: bool = False) -> list[Path]:
    """Write `table.md`, `table.csv`, `table.json` and `table.tex` into a folder; return their paths.

    Args:
        folder: A suite's folder, or a folder of runs.

    Raises:
        RecordError: if it has no run that can be read, or it cannot be written.
    """
    found = read_table(folder, best_on_test)
    paths = {form: folder / f"table.{form}" for form in FORMS}
    try:
        for form, path in paths.items():
            write_text(path, FORMS[form](found))
    except OSError as error:
        raise unwritable(folder, error) from error
    return list(paths.values())


def chosen_columns(names: Sequence[str] | None, found: SuiteTable) -> list[Column]:
    """Return columns by their keys; without names the accuracy, or the mean error if there is none.

    Raises:
        ConfigError: if a column is unknown.
    """
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
        form: One of `FORMS`.
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
    seeds = sorted({len(row.seeds) for row in rows})
    over = f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else f"{seeds[0]} seed{'s' if seeds[0] != 1 else ''}"
    notes = [f"Mean ± standard deviation over {over}, at the epoch that was chosen on validation recordings."]
    notes += [f"† {row.arm} on {row.dataset}: {'; '.join(row.flags)}" for row in rows if row.flags]
    notes += [BEST_ON_TEST] if any(column.key == "best_test_accuracy" for column in columns) else []
    groups = [(found.name, found.parts)] if by_dataset else [(part.dataset, [part]) for part in found.parts]
    return [_paper(title, parts, columns, by_dataset) for title, parts in groups], notes


def _paper(title: str, parts: Sequence[Part], columns: Sequence[Column], by_dataset: bool) -> Table:
    rows = [{row.arm: row for row in part.rows} for part in parts]
    arms = list(dict.fromkeys(row.arm for part in parts for row in part.rows))
    head = [f"{part.dataset}, {c.heading}" if by_dataset else c.heading for part in parts for c in columns]
    if by_dataset and len(columns) == 1:
        title, head = f"{title}: {columns[0].heading}", [part.dataset for part in parts]
    lines = [[_named(arm, rows), *(_text(of.get(arm), c) for of in rows for c in columns)] for arm in arms]
    return Table(["method", *head], lines, title)


def _named(arm: str, rows: Sequence[Mapping[str, Row]]) -> str:
    found = [of[arm] for of in rows if arm in of]
    return _name(found[0]) + (" †" if any(row.flags for row in found) else "")


def _text(row: Row | None, column: Column) -> str:
    return column.text(row.values[column.of]) if row is not None and column.of in row.values else ""


def _name(row: Row) -> str:
    return f"{row.arm} (baseline)" if row.role == "baseline" else row.arm


def _figures(part: Part, about: str) -> Table:
    columns = [c for c in COLUMNS if c.about == about and any(_text(row, c) for row in part.rows)]
    accuracy = about == "accuracy"
    flagged = accuracy and any(row.flags for row in part.rows)
    head = ["#", "method", *(["runs"] if accuracy else []), *(c.heading for c in columns)]
    head += ["flags"] if flagged else []
    rows = []
    for row in part.rows:
        runs = [f"{len(row.seeds)}/{row.asked}"] if accuracy else []
        said = ["; ".join(row.flags)] if flagged else []
        rows.append([part.rank(row), _name(row), *runs, *(_text(row, c) for c in columns), *said])
    said = [len(head) - 1] if flagged else []
    return Table(head, rows, part.dataset + _TITLES[about], [1, *said], said)


def _published(part: Part) -> Table:
    head = ["published", "accuracy (%)", "architecture", "T", "parameters", "protocol", "epoch chosen on", "source"]
    rows = [
        [
            *(one.name, f"{100 * one.accuracy:.1f}", one.architecture, str(one.steps)),
            *(short_number(one.params), one.protocol, one.chosen_on, one.source or ""),
        ]
        for one in part.published
    ]
    faint = [place for place, one in enumerate(part.published) if one.on_test]
    return Table(head, rows, f"{part.dataset}: published by others, not ranked", [0, 2, 5, 6, 7], [5, 6, 7], faint)


def _controls(found: SuiteTable) -> list[str]:
    lines = []
    for one in found.controls:
        verdict = VERDICTS.get(one.get("passed"))
        where = " ".join(str(one[key]) for key in ("dataset", "arm") if one.get(key))
        lines.append(f"{one.get('name')} ({where}): {f'{verdict}: ' if verdict else ''}{one.get('said')}")
    return lines


def _document(template: str) -> Callable[[SuiteTable], str]:
    def text(found: SuiteTable) -> str:
        lists = {"Controls": _controls(found), "Not shown": found.problems}
        return render(template, table=found, tables=tables, remarks=remarks, lists=lists)

    return text


def _csv(found: SuiteTable) -> str:
    """Return a line for each method on each dataset, and for each published result; accuracies in 0..1."""
    rows: list[dict[str, Any]] = []
    for part in found.parts:
        rows += [*_arm_lines(part), *(_published_line(part.dataset, one) for one in part.published)]
    known = dict.fromkeys(key for line in rows for key in line)
    return csv_text([*_FIRST, *(key for key in known if key not in (*_FIRST, *_LAST)), *_LAST], rows)


def _arm_lines(part: Part) -> list[dict[str, Any]]:
    lines = []
    for row in part.rows:
        line = {
            **{"dataset": row.dataset, "rank": part.rank(row), "arm": row.arm, "role": row.role, "asked": row.asked},
            **{"seeds": " ".join(map(str, row.seeds)), "failed": row.failed},
            **{"flags": "; ".join(row.flags), "note": row.note or ""},
        }
        for column in COLUMNS:
            if (value := row.values.get(column.of)) is not None:
                pair = ("low", "high") if column.key.endswith("_interval") else ("", "sd")
                both = (value.low, value.high) if column.key.endswith("_interval") else (value.mean, value.sd)
                line |= {f"{column.of}_{what}".rstrip("_"): _number(one) for what, one in zip(pair, both, strict=True)}
        lines.append(line)
    return lines


def _published_line(dataset: str, one: Published) -> dict[str, Any]:
    return {
        **{"dataset": dataset, "arm": one.name, "role": "published"},
        **{"test_accuracy": _number(one.accuracy), "params": _number(one.params)},
        "flags": f"not ranked; epoch chosen on {one.chosen_on}",
        "note": f"{one.architecture}, T = {one.steps}; {one.protocol}; {one.source or 'no source'}",
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


FORMS: Mapping[str, Callable[[SuiteTable], str]] = {
    "md": _document("suite.md"),
    "csv": _csv,
    "json": lambda found: json_text(found.record()),
    "tex": _document("suite.tex"),
}
