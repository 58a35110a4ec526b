"""The preflight of a dataset's recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snnlab.data.duplicates import Duplicates
from snnlab.errors import DataError
from snnlab.experiments.session import trial
from snnlab.experiments.session.trial import preflight
from snnlab.session import Session

from ...refusals import assert_text_has


def test_the_first_valid_method_describes_the_data(workplace: Path, digits_store: str):
    found = preflight([["neuron.taumem=3", digits_store], [digits_store]], None, str(workplace))
    assert found.mistake is None
    assert found.gap is None
    assert found.apart
    assert_text_has(found.duplicates or "", "0 training", "0 validation")


@pytest.mark.parametrize("apart", [True, False])
def test_another_gap_is_no_verdict_on_copies(
    workplace: Path, digits_store: str, monkeypatch: pytest.MonkeyPatch, apart: bool
):
    copies = Duplicates(100, val_in_test=0, train_in_test=0 if apart else 3, train_in_val=0, dropped=False)

    def broken(*_: Any) -> None:
        raise DataError("", "missing")

    monkeypatch.setattr(trial, "find_duplicates", lambda *_: copies)
    monkeypatch.setattr(Session, "data", property(broken))
    found = preflight([[digits_store]], None, str(workplace))
    assert (str(found.gap), found.apart) == ("missing", apart)
