"""Grids, searches and suites of trainings: their runs, records, tables and verdicts."""

PROVIDES = {
    "train -m": "snnlab.experiments.cli.grid:run_grid",
}
