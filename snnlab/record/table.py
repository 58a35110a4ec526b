"""A result as the table that ends a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snnlab.record.run_folder import Result
from snnlab.record.tables import Table

_PARTS = {"test": "test", "val": "validation"}


def print_result(result: Result) -> None:
    """Print the result's table to stdout."""
    for table in (summary_table(result), value_table(result), layer_table(result)):
        table.print()


def summary_table(result: Result) -> Table:
    """Return the run's main figures."""
    metrics, selection, timing = result.metrics, result.selection, result.timing
    rows = [
        ("control", result.control or ""),
        ("test accuracy", _percent(metrics.get("test/accuracy"), _of(result, "test"))),
        ("test error", _error(result, "test")),
        ("trained on before", _trained_before(selection)),
        ("validation accuracy", _percent(metrics.get("val/accuracy"), _of(result, "val"))),
        ("validation error", _error(result, "val")),
        ("chosen epoch", _chosen(selection)),
        ("last epoch's validation", _percent(metrics.get("last/val/accuracy"), "") or _errors(metrics, "last/val")),
        ("spikes a test sample", _number(metrics.get("test/spikes_per_sample"), ",.0f", "")),
        ("parameters", _number(metrics.get("params"), ",.0f")),
        (
            "training",
            f"{_number(timing.get('fit_s'), '.1f')} s, {_number(timing.get('samples_per_s'), '.0f')} samples/s",
        ),
        ("peak memory", f"{_number(timing.get('peak_rss_mb'), ',.0f')} MB"),
    ]
    title = f"{result.name or result.folder.parent.name}, seed {result.seed}"
    return Table(("", ""), [row for row in rows if row[1]], title, (0, 1))  # nothing stands for what was not measured


def value_table(result: Result) -> Table:
    """Return how near each of several values came, on the test recordings if there was a test."""
    stage, metrics = _shown(result), result.metrics
    rows = [
        (name, f"{mae:.4g}", f"{metrics[f'{stage}/rmse/{name}']:.4g}", f"{metrics[f'{stage}/r2/{name}']:.3f}")
        for name, mae in _below(metrics, f"{stage}/mae/")
    ]
    return Table(("value", "mean error", "rms error", "R2"), rows, f"values of the {stage} recordings")


def layer_table(result: Result) -> Table:
    """Return what each spiking layer did, on the test recordings if there was a test."""
    stage, metrics = _shown(result), result.metrics
    hz = ["rate (Hz)"] if any(key.startswith(f"{stage}/rate_hz/") for key in metrics) else []
    rows = [
        [
            *(layer, _number(spikes, ".4f")),
            *(_number(metrics.get(f"{stage}/rate_hz/{layer}"), ".2f") for _ in hz),
            _percent(metrics.get(f"{stage}/silent/{layer}"), ""),
        ]
        for layer, spikes in _below(metrics, f"{stage}/spikes_per_step/")
    ]
    head = ["layer", "spikes / neuron / step", *hz, "never fired"]
    return Table(head, rows, f"spiking layers on the {stage} recordings")


def _below(metrics: Mapping[str, float], prefix: str) -> list[tuple[str, float]]:
    return [(key.removeprefix(prefix), value) for key, value in metrics.items() if key.startswith(prefix)]


def _shown(result: Result) -> str:
    return "test" if any(key.startswith("test/") for key in result.metrics) else "val"


def _of(result: Result, stage: str) -> str:
    """Return what was evaluated, of which the limits of the trainer can make less than there is."""
    if (steps := result.metrics.get(f"{stage}/labelled_steps")) is not None:
        return f" of {steps:,.0f} labelled steps"
    size = result.metrics.get(f"{stage}/recordings", result.selection.get(f"{stage}_size"))
    windows = result.metrics.get(f"{stage}/windows")
    return f" of {'' if windows is None else f'{windows:,.0f} windows of '}{size:,.0f} recordings" if size else ""


def _error(result: Result, stage: str) -> str:
    errors = _errors(result.metrics, stage)
    return errors and errors + _of(result, stage).replace(" of ", ", ", 1)


def _errors(metrics: Mapping[str, float], prefix: str) -> str:
    """Return the figures of values; nothing where the targets are others."""
    if f"{prefix}/mae" not in metrics:
        return ""
    mae, rmse, r2 = (metrics[f"{prefix}/{name}"] for name in ("mae", "rmse", "r2"))
    return f"mean {mae:.4g}, rms {rmse:.4g}, R2 {r2:.3f}"


def _trained_before(selection: Mapping[str, Any]) -> str:
    """Return how many of the recordings that say how good it is the run of `init_from` was trained on."""
    found = selection.get("trained_before") or {}
    parts = [(words, found.get(part), selection[f"{part}_size"]) for part, words in _PARTS.items() if found.get(part)]
    return ", ".join(f"{many:,} of {size:,} {words} recordings" for words, many, size in parts)


def _chosen(selection: Mapping[str, Any]) -> str:
    epoch = selection.get("epoch")
    return "" if epoch is None else f"{epoch + 1} of {selection['epochs']} ({selection['rule'].replace('_', ' ')})"


def _percent(value: float | None, of: str) -> str:
    return "" if value is None else f"{100 * value:.1f} %{of}"


def _number(value: float | None, form: str, missing: str = "?") -> str:
    return missing if value is None else format(value, form)


def say_result(result: Result) -> None:
    """Print what a run came to, and its folder as the last line."""
    print_result(result)
    print(result.folder, flush=True)
