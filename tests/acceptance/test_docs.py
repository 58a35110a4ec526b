"""What `snnlab docs --help` promises: the pages, and where each one is."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path

import pytest

from snnlab.cli import docs
from snnlab.cli.command_files import commands

from .conftest import Outcome

ROOT = Path(__file__).parents[2]


def test_it_lists_the_pages_with_their_titles(snnlab: Callable[..., Outcome]):
    done = snnlab("docs")
    assert done.status == 0
    assert {line.split("   ")[0].strip() for line in done.out.splitlines()} == set(docs.find_pages())
    assert any(
        line.startswith("nir ") and line.endswith("Bring a network, take a network") for line in done.out.splitlines()
    )


def test_it_prints_where_a_page_is(snnlab: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(docs, "built_page", lambda topic: None)
    assert Path(snnlab("docs", "data").out.strip()) == ROOT / "docs" / "data.md"


def test_it_opens_a_page_of_a_built_site(
    snnlab: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    opened: list[str] = []
    monkeypatch.setattr(docs, "built_page", lambda topic: tmp_path / f"{topic}.html")
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert snnlab("docs", "data").status == 0
    assert opened == [(tmp_path / "data.html").as_uri()]


def test_an_unknown_page_is_refused_with_the_nearest(snnlab: Callable[..., Outcome]):
    done: Outcome = snnlab("docs", "nerons")
    assert done.status == 2
    assert "'neurons'" in done.err


@pytest.mark.parametrize("command", [name for name in commands() if name != "docs"])
def test_each_help_ends_with_a_page_that_exists(snnlab: Callable[..., Outcome], command: str):
    *_, last = snnlab(command, "--help").out.splitlines()
    assert last.startswith("more: snnlab docs ")
    assert last.split()[-1] in docs.find_pages()
