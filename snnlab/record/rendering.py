r"""Texts made from Jinja2's templates: pages, Markdown and LaTeX, each value escaped for its form.

pandas' `to_latex` and `to_markdown` cannot keep what tables promise (pandas 3.0, 85 MB): a row that begins with `[lif]`
becomes an argument of the `\\` above it, `≈`, `±` and `<` stay as they are, and the cell `x|y` is two of Markdown's.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_NUMBER = re.compile(r"(?P<digits>-?\d[\d,]*(\.\d+)?)( (?P<unit>[kMG])\b)?")
_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_NAMES = ("backslash", "asciitilde", "asciicircum", "less", "greater", "bar")
_SIGNS = str.maketrans(
    {sign: f"\\{sign}" for sign in "{}$&#%_"}
    | {sign: f"\\text{name}{{}}" for sign, name in zip("\\~^<>|", _NAMES, strict=True)}
    | {
        sign: f"$\\{name}$"
        for sign, name in zip("±≈µ×→†", ("pm", "approx", "mu", "times", "to", "dagger"), strict=True)
    }
    | {"[": "{[}", "]": "{]}", '"': "''"}
)


def render(template: str, **values: Any) -> str:
    """Return a template with its values.

    Args:
        template: A file in `templates`; its ending says in which form values are written.
        values: What it names.
    """
    return _environment(template.rpartition(".")[2]).get_template(template).render(values)


def latex(text: object) -> str:
    """Return a text of which LaTeX takes no letter for a command."""
    return " ".join(str(text).split()).translate(_SIGNS)


def markdown(text: object) -> str:
    """Return a text of which Markdown takes no letter for a sign of its own."""
    return " ".join(re.sub(r"([\\`*_|<#\[\]])", r"\\\1", str(text)).split())


@cache
def _environment(form: str) -> Environment:
    options: dict[str, Any] = {"autoescape": True}
    if form != "html":
        options = {"finalize": {"md": markdown, "tex": latex}[form]}
    if form == "tex":  # braces are LaTeX's own
        names = ("block_start_string", "block_end_string", "variable_start_string", "variable_end_string")
        options |= dict(zip(names, ("<%", "%>", "<<", ">>"), strict=True))
    options |= {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    made = Environment(loader=PackageLoader("snnlab.record"), undefined=StrictUndefined, **options)
    made.filters["sorted_by"] = _sorted_by
    return made


def _sorted_by(text: object) -> float | None:
    """Return what a cell is sorted by, where that is not what it begins with: `12,000` and `3.15 M`."""
    found = _NUMBER.match(str(text))
    if found is None or not (found["unit"] or "," in found["digits"]):
        return None
    return float(found["digits"].replace(",", "")) * _UNITS[found["unit"] or ""]
