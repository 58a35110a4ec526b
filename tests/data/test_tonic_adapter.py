from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snnlab.data import tonic_adapter


def test_both_parts_are_fetched_below_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import tonic.datasets

    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(tonic.datasets, "NMNIST", lambda **settings: calls.append(settings))
    tonic_adapter.download("NMNIST", tmp_path, {})
    assert calls == [{"save_to": str(tmp_path), "train": True}, {"save_to": str(tmp_path), "train": False}]


def test_an_address_that_works_no_more_gives_way_under_the_same_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import tonic.datasets

    made: list[tuple[str, str]] = []

    class DVSGesture:
        train_url = "old"

        def __init__(self, **_: Any) -> None:
            made.append((type(self).__name__, self.train_url))

    monkeypatch.setattr(tonic.datasets, "DVSGesture", DVSGesture)
    tonic_adapter.download("DVSGesture", tmp_path, {"train_url": "new"})
    assert made == [("DVSGesture", "new")] * 2
    assert DVSGesture.train_url == "old"
