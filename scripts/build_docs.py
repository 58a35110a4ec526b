"""Build the documentation: the pages of docs/, the README as the front page, and a reference made from the code.

    python scripts/build_docs.py            # writes build/site/index.html; a warning or a dead link is an error

Types, units, defaults and meanings are read from signatures and docstrings, commands from their `--help`, YAML files
from `configs/`. Nothing of the reference is typed in docs/.
"""

from __future__ import annotations

import argparse
import html
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import models_page
import notebooks
import pictures

from snnlab.cli.command_files import commands
from snnlab.cli.kinds import registry, shared_settings
from snnlab.cli.list import neuron_lines
from snnlab.cli.usage import reference_text
from snnlab.config.catalogue import REGISTRIES
from snnlab.config.folders import description, file_kinds, group_files
from snnlab.config.schema import NO_SETTINGS, Experiment
from snnlab.data.data_settings import DataSettings
from snnlab.nn.neuron_equations import RenderedEquations, equations_of_kind
from snnlab.runs.console_tables import as_yaml, equation_lines
from snnlab.spec.docstrings import first_sentence
from snnlab.spec.signatures import fields_of

ROOT = Path(__file__).parents[1]
# Pages outside of docs/ that the site shows, and their names there.
OTHER_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
OTHER_PAGES |= {"CHANGELOG.md": "changelog.md"}
# The weight of pages in the search, 1 without a line here: answers come first, lists that name everything come last.
SEARCH_WEIGHTS = {"questions.md": 8.0, "tutorials": 2.0, "reference": 0.5, "reference/python": 0.1}
SEARCH_WEIGHTS |= {"reference/files.md": 0.1, "reference/models.md": 0.2, "changelog.md": 0.1, "contributing.md": 0.1}
# Modules with a page of their public names.
MODULES = ("snnlab", "snnlab.nn", "snnlab.data")

# Material's plugin for pages in a folder loads this script from the network; docs/assets has a copy.
WORKER_SCRIPT = "https://unpkg.com/iframe-worker/shim"


class Page(NamedTuple):
    """A page of the reference: its path below `reference/`, and its text."""

    path: str
    text: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build", help="folder for docs/ (the sources) and site/")
    parser.add_argument("--sources-only", action="store_true", help="write the pages, do not make a site of them")
    names = models_page.NAMES
    parser.add_argument("--models", nargs="+", default=names, choices=names, metavar="NAME", help="only their cards")
    arguments = parser.parse_args()
    sources, site = arguments.out / "docs", arguments.out / "site"
    write_sources(sources, arguments.models)
    if not arguments.sources_only:
        build_site(sources, site)


def write_sources(folder: Path, models: Sequence[str] = models_page.NAMES) -> None:
    """Write all pages as Markdown into an empty folder, with the cards of some models."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder, ignore=shutil.ignore_patterns("results"))
    for path in [*folder.rglob("*.md"), *(ROOT / name for name in OTHER_PAGES)]:
        inside = path.is_relative_to(folder)
        target = path if inside else folder / OTHER_PAGES[path.name]
        place = str(path.parent.relative_to(folder)) if inside else ".."
        target.write_text(with_links_of_the_site(path.read_text(encoding="utf-8"), place), encoding="utf-8")
    for path in (ROOT / "docs" / "tutorials").glob("*.md"):
        page = folder / "tutorials" / path.name
        page.with_suffix(".ipynb").write_text(notebooks.notebook(path.read_text(encoding="utf-8")), encoding="utf-8")
        with page.open("a", encoding="utf-8") as file:
            file.write(f"\n[This page as a notebook]({path.stem}.ipynb)\n")
    if models == models_page.NAMES:
        pictures.write(folder)  # in place of the copies in docs/, which README.md shows on the web
    models_page.write_figures(folder / "reference" / models_page.FIGURES, models)
    for page in reference_pages(models):
        target = folder / "reference" / page.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page.text, encoding="utf-8")
    for place, weight in SEARCH_WEIGHTS.items():
        for path in [folder / place] if place.endswith(".md") else (folder / place).glob("*.md"):
            if str(path.relative_to(folder)) in SEARCH_WEIGHTS.keys() - {place}:
                continue  # the page has its own weight
            text = path.read_text(encoding="utf-8")
            path.write_text(f"---\nsearch: {{boost: {weight}}}\n---\n\n{text}", encoding="utf-8")


def with_links_of_the_site(text: str, folder: str) -> str:
    """Return a page whose links lead to the pages of the site, in place of the files of the repository.

    Args:
        text: The page.
        folder: The path of its folder from docs/; `..` for a page outside of it.
    """

    def link(found: re.Match[str]) -> str:
        path = os.path.normpath(os.path.join("docs", folder, found["path"]))  # from the root of the repository
        name = OTHER_PAGES.get(path) or os.path.relpath(path, "docs")
        return f"]({os.path.relpath(name, '.' if folder == '..' else folder)}{found['anchor'] or ''})"

    return re.sub(r"\]\((?P<path>[\w./-]+\.(?:md|png))(?P<anchor>#[\w-]*)?\)", link, text)


def build_site(sources: Path, site: Path) -> None:
    """Make the site with MkDocs; exit with its status if it fails."""
    environment = {**os.environ, "SNNLAB_DOCS": str(sources), "SNNLAB_SITE": str(site), "NO_MKDOCS_2_WARNING": "true"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", str(ROOT / "mkdocs.yml")]
    status = subprocess.run(command, env=environment, check=False).returncode
    if status:
        raise SystemExit(status)
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        script = os.path.relpath(site / "assets" / "iframe-worker.js", page.parent)
        page.write_text(text.replace(WORKER_SCRIPT, script), encoding="utf-8")
    print(site / "index.html")


def reference_pages(models: Sequence[str]) -> Iterator[Page]:
    """Yield the pages of the reference."""
    yield Page("commands.md", reference_text(commands()))
    yield Page("settings.md", settings_page())
    yield Page("neurons.md", neurons_page())
    yield Page("models.md", models_page.page(models))
    for kind in REGISTRIES:
        if kind != "neurons":
            yield Page(f"{kind}.md", registry_page(kind))
    yield Page("files.md", files_page())
    for module in MODULES:
        yield Page(f"python/{module.replace('.', '_')}.md", module_page(module))


def settings_page() -> str:
    """Return the settings of an experiment and of all datasets, with types, defaults and meanings."""
    own = [row for row in setting_rows(Experiment) if row[0] not in NO_SETTINGS]
    data = setting_rows(DataSettings)
    return "\n".join(
        [
            "# Settings",
            "\nA setting is `key=value` on the command line. `snnlab train --cfg job` prints all with their values.",
            "\n## Of an experiment\n",
            markdown_table(own),
            "\n## Of the data\n",
            "All datasets have these, as `data.KEY`; [each has more](datasets.md).\n",
            markdown_table(data),
            "",
        ]
    )


def neurons_page() -> str:
    """Return equations and settings of each neuron, and the list of presets."""
    entries = registry("neurons")
    parts = ["# Neurons\n", "## Presets\n", "`neuron=NAME`; a star: its constants or its rate depend on dt.\n"]
    lines = [
        (f"`{one.name}`", "" if one.dt_invariant else "*", f"`{one.kind}`", one.text) for one in neuron_lines(None)
    ]
    parts.append(table(("preset", "", "type", ""), lines))
    parts += [entry_text("neurons", name, entries.get(name, "neurons")) for name in entries]
    return "\n".join(parts)


def registry_page(kind: str) -> str:
    """Return the entries of a registry with their settings."""
    entries, keys, shared = registry(kind), REGISTRIES[kind].named_by, shared_settings(kind)
    named = ", ".join(f"`{key}`" for key in keys)
    common = "\nAll of them have the [settings of the data](settings.md#of-the-data).\n" if shared else ""
    head = f"# {kind.capitalize()}\n\nNamed by {named}.\n{common}"
    return "\n".join([head, *(entry_text(kind, name, entries.get(name, kind)) for name in entries)])


def entry_text(kind: str, name: str, factory: Callable[..., Any]) -> str:
    """Return the section of a registered class or function."""
    equations = [typeset(line) for line in equation_lines(factory)]
    parts = [f"## {name}\n", first_sentence(factory) + "\n"]
    if equations:
        parts.append('<div class="equations">\n' + "<br>\n".join(equations) + "\n</div>\n")
        rendered = equations_of_kind(factory)
        if isinstance(rendered, RenderedEquations):
            parts.append('??? note "LaTeX"\n\n' + indented(f"```latex\n{rendered.latex()}\n```") + "\n")
    parts.append(docstring_text(rest_of_description(factory)) + "\n")
    rows = setting_rows(factory, REGISTRIES[kind].supplied)
    parts.append(markdown_table(rows) if rows else "It takes no settings.\n")
    return "\n".join(parts)


def rest_of_description(factory: Callable[..., Any]) -> str:
    """Return what a docstring says between its first sentence and its sections."""
    lines = (inspect.getdoc(inspect.unwrap(factory)) or "").splitlines()
    end = next((index for index, line in enumerate(lines) if SECTION.match(line)), len(lines))
    paragraph, _, rest = "\n".join(lines[:end]).partition("\n\n")
    more = " ".join(paragraph.split()).removeprefix(first_sentence(factory)).strip()
    return f"{more}\n\n{rest}".strip("\n")


def setting_rows(factory: Callable[..., Any], supplied: Sequence[str] = ()) -> list[tuple[str, str, str, str, str]]:
    """Return name, type, unit, default and meaning of each setting."""
    return [
        (
            one.name,
            one.kind,
            one.unit,
            "required" if one.required else default_text(one.default),
            one.help,
        )
        for one in fields_of(factory, supplied).values()
    ]


def default_text(value: Any) -> str:
    """Return a default as in YAML; an empty mapping or list for one that is made at each call."""
    return as_yaml(value) if not repr(value).startswith("<") else "{}"


def markdown_table(rows: Iterable[tuple[str, str, str, str, str]]) -> str:
    lines = [(f"`{name}`", kind, unit, f"`{default}`", meaning) for name, kind, unit, default, meaning in rows]
    return table(("setting", "type", "unit", "default", "meaning"), lines)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return (
        "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
        )
        + "\n"
    )


GREEK = {"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "theta": "θ", "kappa": "κ", "lambda": "λ"}
GREEK |= {"rho": "ρ", "sigma": "σ", "tau": "τ", "omega": "ω", "phi": "φ", "eta": "η"}
UPRIGHT = (
    "exp",
    "max",
    "min",
    "floor",
    "round",
    "sigmoid",
    "tanh",
    "relu",
    "log",
    "ln",
    "sqrt",
    "trunc",
    "clamp",
    "sin",
    "cos",
)
# Words of equations, which are no variables.
WORDS = (
    "where",
    "is",
    "else",
    "if",
    "reset",
    "by",
    "and",
    "or",
    "the",
    "of",
    "from",
    "to",
    "in",
    "it",
    "one",
    "step",
    "over",
    "all",
    "with",
)

SIGNS = {" >= ": " ≥ ", " <= ": " ≤ ", " < ": " &lt; ", " > ": " &gt; ", " * ": " · ", " - ": " − ", "-1]": "−1]"}
EQUATION = re.compile(r"(?P<lead> *)(?P<formula>.*?)(?: {2,}(?P<condition>.*))?")


def typeset(equation: str) -> str:
    """Return an equation as HTML: variables in italics, what follows an underscore as an index, signs as in print.

    Text behind two spaces or more says when the line applies; it stays as it is, unless a comma before it announces
    another equation.
    """
    lead, formula, condition = EQUATION.fullmatch(equation).group("lead", "formula", "condition")  # pyright: ignore[reportOptionalMemberAccess]
    text = re.sub(r"[A-Za-z]\w*", lambda found: _variable(found[0]), formula)
    for typed, printed in SIGNS.items():
        text = text.replace(typed, printed)
    text = re.sub(r"\^(\w+)", r"<sup>\1</sup>", text)
    if condition and formula.endswith(","):
        return "&emsp;" * (len(lead) // 2) + text + "&emsp;" + typeset(condition)
    note = f' <span class="when">{html.escape(condition)}</span>' if condition else ""
    return "&emsp;" * (len(lead) // 2) + text + note


def _variable(name: str) -> str:
    if name in UPRIGHT + WORDS:
        return name
    first, _, index = name.partition("_")
    base = GREEK.get(first, first)
    return f"<i>{base}</i>" + (f"<sub>{index.replace('_', ' ')}</sub>" if index else "")


def files_page() -> str:
    """Return the packaged YAML files, each with its text."""
    parts = [
        "# Configuration files\n",
        "`GROUP=NAME` chooses a file; `snnlab cp GROUP/NAME mine/...` copies one to change it.\n",
    ]
    for kind, group in file_kinds(None).items():
        parts.append(f"## {kind}\n")
        for name, path in group_files(group, None).items():
            text = path.read_text(encoding="utf-8").rstrip()
            parts.append(
                f'??? note "{group}={name}: {description(path)}"\n\n' + indented(f"```yaml\n{text}\n```") + "\n"
            )
    return "\n".join(parts)


def indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


def module_page(module: str) -> str:
    """Return the signatures and docstrings of the public names of a module."""
    found = importlib.import_module(module)
    summary = inspect.getdoc(found) or ""
    sections = (f"## {name}\n\n{object_text(name, getattr(found, name))}" for name in public_names(found))
    return "\n".join([f"# {module}\n", f"{summary}\n", *sections])


def object_text(name: str, thing: Any) -> str:
    """Return a signature, as code, and a docstring, as Markdown."""
    parts = []
    if callable(thing):
        lines = [signature_text(name, thing)]
        if inspect.isclass(thing) and "forward" in vars(thing):
            lines.append(signature_text("forward", vars(thing)["forward"]))
        parts.append("```python\n" + "\n".join(lines) + "\n```\n")
    return "\n".join([*parts, docstring_text(inspect.getdoc(thing) or ""), ""])


def signature_text(name: str, thing: Callable[..., Any]) -> str:
    try:
        signature = inspect.signature(thing)
    except ValueError:  # a class in C
        return name
    parts = [re.sub(r"'([^']*)'", r"\1", str(one)) for one in signature.parameters.values()]
    line = f"{name}({', '.join(parts)})"
    return line if len(line) <= 100 else f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + ")"


# The beginning of a section of a docstring, and an entry of one.
SECTION = re.compile(r"^(Args|Attributes|Shape|Returns|Yields|Raises|Source):(.*)$")
ENTRY = re.compile(r"^ {4}(\w+|\*{1,2}\w+): (.*)$")


def docstring_text(doc: str) -> str:
    """Return a docstring as Markdown: its sections with a bold title, and their entries as a list."""
    lines, in_section = [], False
    for line in doc.splitlines():
        section = SECTION.match(line)
        if section:
            in_section = True
            lines += ["", f"**{section[1]}**", "", section[2].strip()]
        elif in_section and line.strip():
            entry = ENTRY.match(line)
            lines.append(f"- `{entry[1]}`: {entry[2]}" if entry else line.strip())
        else:
            lines.append(line)
    return html.escape("\n".join(lines), quote=False).replace("&gt;", ">")


def public_names(module: Any) -> list[str]:
    """Return the public names of a module that are classes, functions or registries, without other modules."""
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    return sorted(name for name in names if not name.startswith("_") and not inspect.ismodule(getattr(module, name)))


if __name__ == "__main__":
    main()
