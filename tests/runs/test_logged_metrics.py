from __future__ import annotations

from snnlab.runs.loggers import LoggedMetrics


def test_a_metric_is_new_once_per_step() -> None:
    logged = LoggedMetrics()
    assert logged.new({"epoch": 0, "loss": 1.0}, 3) == {"epoch": 0, "loss": 1.0}
    assert logged.new({"epoch": 0, "accuracy": 0.5}, 3) == {"accuracy": 0.5}
    assert logged.new({"epoch": 0, "loss": 0.9}, 4) == {"epoch": 0, "loss": 0.9}
    assert logged.new({"final": 1.0}, None) == {"final": 1.0}
    assert logged.new({"final": 1.0}, None) == {}
