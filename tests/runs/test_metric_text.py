from __future__ import annotations

import pytest

from snnlab.runs.tables import mean_sd_text, metric_text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("test/accuracy", 1.0, "100.00%"),
        ("last/val/accuracy", 0.8028, "80.28%"),
        ("val/loss", 0.123456, "0.1235"),
        ("params", 18_200.0, "18,200"),
        ("val/loss", None, ""),
    ],
)
def test_a_metric_has_one_text(name: str, value: float | None, text: str) -> None:
    assert metric_text(name, value) == text


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        ("test/accuracy", [1.0, 1.0], "100.00% ± 0.00%"),
        ("test/loss", [2.28, 2.29], "2.285 ± 0.0071"),
        ("test/spikes_per_sample", [1000.0, 5000.0], "3,000 ± 2,828"),
        ("test/spikes_per_sample", [100.0, 400.0], "250 ± 212"),
        ("test/loss", [0.5], "0.5"),
        ("test/loss", [], ""),
    ],
)
def test_several_values_have_a_mean_and_a_deviation(name: str, values: list[float], text: str) -> None:
    assert mean_sd_text(name, values) == text
