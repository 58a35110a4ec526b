"""docs/models.md is made from the YAML files of the models, and is current."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

from snnlab.config.folders import config_folder, group_files

from ..session.test_model_card import NAMES

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def models_page() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        return importlib.import_module("models_page")


@pytest.mark.parametrize("name", NAMES)
def test_the_section_and_the_row_of_a_model_are_current(models_page: ModuleType, name: str) -> None:
    text = models_page.PAGE.read_text(encoding="utf-8")
    hint = "python scripts/models_page.py writes the page again"
    assert models_page.section(name) in text, hint
    assert models_page.table_row(name) in text, hint


def test_the_page_has_every_model_and_no_other(models_page: ModuleType) -> None:
    text = models_page.PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == list(group_files("model", config_folder()))


def test_the_page_of_the_site_shows_figures(
    models_page: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models_page, "NAMES", ("conv_lif",))
    models_page.write_figures(tmp_path / "models")
    size = (tmp_path / "models" / "conv_lif.svg").stat().st_size
    assert 1000 < size < 40_000
    page = models_page.page(["conv_lif"], figures=True)
    assert "(models/conv_lif.svg)" in page
    assert "```" not in page
