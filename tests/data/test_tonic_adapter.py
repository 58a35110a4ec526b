from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snnlab.data import tonic_adapter


def test_both_parts_are_fetched_below_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import tonic.datasets

    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(tonic.datasets, "NMNIST", lambda **settings: calls.append(settings))
    tonic_adapter.download("NMNIST", tmp_path)
    assert calls == [{"save_to": str(tmp_path), "train": True}, {"save_to": str(tmp_path), "train": False}]
