from __future__ import annotations

from snnlab.runs.loggers import Once


def test_a_number_is_new_once_a_step() -> None:
    once = Once()
    assert once.new({"epoch": 0, "loss": 1.0}, 3) == {"epoch": 0, "loss": 1.0}
    assert once.new({"epoch": 0, "accuracy": 0.5}, 3) == {"accuracy": 0.5}
    assert once.new({"epoch": 0, "loss": 0.9}, 4) == {"epoch": 0, "loss": 0.9}
    assert once.new({"final": 1.0}, None) == {"final": 1.0}
    assert once.new({"final": 1.0}, None) == {}
