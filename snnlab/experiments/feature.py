"""Grids, searches and suites of trainings: their runs, records, tables and verdicts."""

PROVIDES = {
    "train -m": "snnlab.experiments.cli.grid:run_grid",
    "report of suite.yaml": "snnlab.experiments.folder_reports:suite_report",
    "report of sweep.yaml": "snnlab.experiments.folder_reports:search_report",
    "validate suite": "snnlab.experiments.session.file_checks:check_suite",
    "callback pruning": "snnlab.experiments.pruning:Pruning",
    "validate sweep": "snnlab.experiments.session.file_checks:check_sweep",
}
# What belongs to it outside of its folder and of its tests.
FILES = (
    "configs/suite",
    "configs/sweep",
    "docs/benchmarks.md",
    "docs/search.md",
    "docs/statistics.md",
    "docs/verdicts.md",
    "docs/tutorials/paper_table.md",
    "docs/tutorials/search.md",
    "scripts/bench_sweep.py",
    "scripts/calibrate_verdicts.py",
)
