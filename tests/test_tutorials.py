"""A tutorial works from its first to its last block, in an empty folder, and prints what it shows."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from scripts.notebooks import FILE
from snnlab.cli import main

from .pages import PAGES, ROOT, TUTORIALS, Block, assert_shows, blocks_of, commands_of, own_registries

EXTRA = re.compile(r"snnlab-train\[([\w,]+)\]")
# The tutorials that take seconds: `make test` has one, `make check` the other too, `make slow` the rest.
MARKS = {"pytorch": (), "coming_from": pytest.mark.long}


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.stem, marks=MARKS.get(page.stem, pytest.mark.slow)) for page in TUTORIALS],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the other libraries
def test_a_tutorial_works(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with own_registries():
        assert_page_works(page, tmp_path, monkeypatch, capfd)


def assert_page_works(
    page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Run the blocks of a page in a folder, one after the other; what they show must be what they print."""
    names: dict[str, Any] = {"__name__": "tutorial"}
    printed = ""
    for block in blocks_of(page, PAGES[page]):
        if block.not_run:
            continue
        if named := FILE.match(block.text):
            path = folder / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as captured:
                exec(compile(block.text, str(block), "exec"), names)
            printed = captured.getvalue()
        elif block.language == "text":
            assert_shows(printed, block.text, block.within)
        else:
            assert_commands_work(block, monkeypatch, capfd)


def assert_commands_work(block: Block, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Run the commands of a block; compare what stands below one that begins with `$`."""
    for command, shown in commands_of(block).items():
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        capfd.readouterr()
        status = main.main()
        captured = capfd.readouterr()
        doctor = 1 if command.startswith("snnlab doctor") else 0  # it has found something
        expected = 2 if shown.startswith("snnlab: ") else doctor if "fixed by" in shown else 0
        assert status == expected, f"{block}: {command}\n{captured.err}"
        assert_shows(captured.err + captured.out, shown, block.within)


@pytest.mark.parametrize("page", TUTORIALS, ids=str)
def test_each_block_of_a_tutorial_runs_or_says_why_not(page: Path):
    blocks = blocks_of(page, PAGES[page])
    for previous, block in zip([None, *blocks], blocks, strict=False):
        output = block.language == "text" and previous is not None and previous.language == "python"
        runs = output or block.language == "python" or FILE.match(block.text) or commands_of(block)
        assert runs or block.not_run, block


@pytest.mark.parametrize("page", TUTORIALS, ids=str)
def test_a_tutorial_names_the_extra_that_its_commands_need(page: Path):
    text = page.read_text(encoding="utf-8")
    used = " ".join(command for block in blocks_of(page, PAGES[page]) for command in commands_of(block))
    needs = {"--nir": "nir", "--onnx": "onnx", "snnlab sweep": "sweep", ".wav": "audio"}
    for word, extra in needs.items():
        assert word not in used or f"snnlab-train[{extra}]" in text


def test_the_extras_that_pages_and_messages_name_exist():
    places = [
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "snnlab").rglob("*.py"),
        *(ROOT / "configs").rglob("*.yaml"),
        ROOT / "README.md",
    ]
    named = {
        name
        for path in places
        for found in EXTRA.findall(path.read_text(encoding="utf-8"))
        for name in found.split(",")
    }
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {"audio", "formats", "nir", "sweep"} <= named <= extras.keys()
