"""Tutorials as notebooks: text, Python, commands and files of a page as cells, with the outputs that the page shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

# A block of a page, with the comments above it: why it is not run, the relative tolerance of the numbers that it shows.
FENCE = re.compile(
    r"(?:<!-- not run: (?P<not_run>[^>]+?) -->\n)?(?:<!-- within: (?P<within>[\d.]+) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
FILE = re.compile(r"# ([\w/]+\.(?:yaml|py))\b")  # the first line of a block that is a file
Cell = dict[str, Any]


def notebook(page: str) -> str:
    """Return a page in Markdown as a notebook, in JSON."""
    cells = [{"id": f"cell{number}", **cell} for number, cell in enumerate(cells_of(page))]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": cells}, indent=1)


def cells_of(page: str) -> Iterator[Cell]:
    """Yield the cells of a page; a block of text behind Python is the output of that cell."""
    code: Cell | None = None
    end = 0
    for block in FENCE.finditer(page):
        between = page[end : block.start()].strip()
        end = block.end()
        if block["language"] == "text" and code is not None and not between:
            code["outputs"] = [{"output_type": "stream", "name": "stdout", "text": block["text"]}]
            continue
        if code is not None:
            yield code
        if between:
            yield {"cell_type": "markdown", "metadata": {}, "source": between}
        code = _code_cell(block["language"], block["text"])
    if code is not None:
        yield code
    if rest := page[end:].strip():
        yield {"cell_type": "markdown", "metadata": {}, "source": rest}


def _code_cell(language: str, text: str) -> Cell:
    outputs = []
    if named := FILE.match(text):
        source = f"from pathlib import Path\n\npath = Path({named[1]!r})\n"
        source += f"path.parent.mkdir(parents=True, exist_ok=True)\npath.write_text({text!r})"
    elif language == "python":
        source = text.rstrip()
    else:
        lines = text.splitlines()
        shown = any(line.startswith("$ ") for line in lines)
        commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ") or not shown]
        source = "\n".join(f"!{line.partition('  #')[0].rstrip()}" for line in commands)
        output = "\n".join(line for line in lines if shown and not line.startswith("$ "))
        outputs = [{"output_type": "stream", "name": "stdout", "text": output}] if output else []
    return {"cell_type": "code", "metadata": {}, "execution_count": None, "source": source, "outputs": outputs}
