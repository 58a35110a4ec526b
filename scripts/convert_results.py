"""Converts docs/results once: the records of rows become runs, and every number of every table stays.

Each suite becomes a folder as `snnlab bench` leaves it: suite.yaml, suite.json, table.md, and its runs in runs.tar.xz.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml

from snnlab.experiments.row_record import RecordedSeed, RowRecord, row_folders
from snnlab.experiments.suite_reading import PACKED, SUITE_PAGE, SUITE_STATE, relative_run_folder
from snnlab.experiments.suite_table import FORMATS, TABLE, read_table
from snnlab.files import json_text, load_arrays, write_json, write_text
from snnlab.runs.run_folder import CONFIG, METRICS, PREDICTIONS, RESULT, WEIGHTS, config_text
from snnlab.safe_tensors import write_safe_tensors
from snnlab.session.weights import weights_of_seeds
from snnlab.training.checkpoints import tensors_hash

RESULTS = Path(__file__).parents[1] / "docs" / "results"
INITIAL = re.compile(r"docs/results/(\w+)/(\w+)/(\w+)(/\d+)?")


def main() -> None:
    """Convert each suite, compare its tables, and replace its folder."""
    wrong = 0
    for suite in sorted(path for path in RESULTS.iterdir() if path.is_dir()):
        with TemporaryDirectory() as temporary:
            made = Path(temporary) / suite.name
            convert(suite, made)
            same = compare(suite, made)
            wrong += not same
            if same and "--replace" in sys.argv:
                shutil.rmtree(suite)
                shutil.rmtree(made / "runs")
                shutil.copytree(made, suite)
    sys.exit(1 if wrong else 0)


def convert(suite: Path, made: Path) -> None:
    """Write a suite as a folder of runs, and its archive."""
    cells = []
    page = yaml.safe_load((suite / SUITE_PAGE).read_text())
    order = list(page["datasets"])
    for row in sorted(row_folders(suite), key=lambda row: order.index(row.parent.name)):
        record, weights = RowRecord.read(row), weights_of_seeds(row)
        curves = load_arrays(row / "robustness.npz") if (row / "robustness.npz").is_file() else {}
        for entry in record.runs:
            names = row.parent.name, row.name, entry["seed"]
            folder = relative_run_folder(*names)
            write_run(made / folder, record.run(entry["seed"]), weights.get(entry["seed"], {}))
            write_curves(made / folder, curves, entry["seed"])
            cells.append({
                **dict(zip(("dataset", "method", "seed"), names, strict=True)),
                **{"folder": folder, "status": "completed", "control": None, "error": None},
                **{"wall_s": entry.get("wall_s"), "tuned": entry.get("tuned"), "foreign": False},
            })  # fmt: skip
    write_text(made / SUITE_PAGE, yaml.safe_dump(with_moved_runs(page), sort_keys=False, width=120))
    state = json.loads((suite / SUITE_STATE).read_text())
    write_json(made / SUITE_STATE, {"schema": state.pop("schema"), "cells": cells, **state})
    write_text(made / "table.md", FORMATS["md"](read_table(made)))
    with tarfile.open(made / PACKED, "w:xz", preset=9) as archive:
        for path in sorted((made / "runs").rglob("*"), key=lambda path: (path.name, path)):
            if path.is_file():
                member = tarfile.TarInfo(str(path.relative_to(made)))
                member.size = path.stat().st_size
                archive.addfile(member, io.BytesIO(path.read_bytes()))


def with_moved_runs(node: Any) -> Any:
    """Return settings with the places of recorded networks as they are now."""
    if isinstance(node, dict):
        return {key: with_moved_runs(value) for key, value in node.items()}
    if isinstance(node, list):
        return [with_moved_runs(value) for value in node]
    if not isinstance(node, str):
        return node
    return INITIAL.sub(lambda m: f"docs/results/{m[1]}/runs/{m[2]}/{m[3]}{m[4] or '/${seed}'}", node)


def write_run(folder: Path, run: RecordedSeed, weights: dict[str, Any]) -> None:
    """Write a recorded seed as a run."""
    folder.mkdir(parents=True)
    write_text(folder / CONFIG, config_text(with_moved_runs(run.config)))
    hashes = {**run.weights, "best": tensors_hash(weights)} if weights else run.weights
    if (recorded := run.weights.get("best")) not in (None, hashes.get("best")):
        print("another hash", folder)
    write_json(folder / RESULT, {**run.content, "weights": dict(hashes)})
    if rows := run.epoch_rows():
        names = [name for name in rows[0] if any(row[name] for row in rows)]
        lines = [names, *([row[name] for name in names] for row in rows)]
        write_text(folder / METRICS, "".join(f"{','.join(line)}\n" for line in lines))
    permutation = run.record.array("permutation", run.seed)
    more = {} if permutation is None else {"permutation": permutation}
    with (folder / PREDICTIONS).open("wb") as file:
        np.savez(file, **run.predictions(), **more)  # the archive compresses it
    if weights:
        write_safe_tensors(folder / WEIGHTS, weights)


def write_curves(folder: Path, curves: dict[str, np.ndarray], seed: int) -> None:
    """Write the answers of a seed under disturbances, as `snnlab robust` does."""
    places = np.flatnonzero(curves.get("seed", np.zeros(0)) == seed)
    if places.size:
        own = {name: value[places[0]] if "/" in name else value for name, value in curves.items() if name != "seed"}
        (folder / "robustness").mkdir()
        with (folder / "robustness" / "robustness.npz").open("wb") as file:
            np.savez(file, **own)


def compare(suite: Path, made: Path) -> bool:
    """Compare the tables and the runs of a suite before and after, and print what is equal."""
    before, after = read_table(suite), read_table(made)
    texts = [with_moved_runs((suite / TABLE).read_text().replace("\\_", "_")), (made / "table.md").read_text()]
    texts[1] = texts[1].replace("\\_", "_").replace("\\$", "$").replace("\\{", "{").replace("\\}", "}")
    lines = [text.replace("\\", "").splitlines() for text in texts]
    numbers = [json_text(record) for record in (with_moved_runs(before.record()), after.record())]
    if numbers_differ := numbers[0] != numbers[1]:
        changed = [pair for pair in zip(*(text.splitlines() for text in numbers), strict=False) if pair[0] != pair[1]]
        print("JSON", len(changed), changed[:4])
    differing = [pair for pair in zip(*lines, strict=False) if pair[0] != pair[1]]
    same = not differing and len(lines[0]) == len(lines[1]) and not numbers_differ
    for row in row_folders(suite):
        record = RowRecord.read(row)
        for entry in record.runs:
            folder = made / relative_run_folder(row.parent.name, row.name, entry["seed"])
            result = json.loads((folder / RESULT).read_text())
            if {**result, "weights": None} != {**entry["result"], "weights": None}:
                print("result", folder)
                same = False
            arrays = load_arrays(folder / PREDICTIONS)
            same &= np.array_equal(arrays["test_answer"], record.array("answer", entry["seed"]))
            same &= np.array_equal(arrays["test_target"], record.arrays["target"])
    count = len(re.findall(r"\d+(?:\.\d+)?", texts[0]))
    print(f"{suite.name}: {count} numbers of the table, and those of its JSON: {'equal' if same else 'DIFFER'}")
    for pair in differing[:5]:
        print(*pair, sep="\n")
    return same


main()
