"""`snnlab docs`: lists the pages of the documentation, or opens one."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path

import snnlab
from snnlab.errors import ConfigError, did_you_mean

USAGE = """usage: snnlab docs [TOPIC]

List the pages of the documentation, or open one: in a browser if the site is built (`make docs` in a checkout), else
its path is printed.

  snnlab docs              the pages
  snnlab docs data         the page on data
"""


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    if len(arguments) > 1:
        raise ConfigError("docs", f"takes one topic, got {len(arguments)}")
    pages = find_pages()
    if not arguments:
        width = max(map(len, pages))
        for topic, path in pages.items():
            print(f"{topic:{width}}   {title(path)}")
        return 0
    topic = arguments[0]
    if topic not in pages:
        near = did_you_mean(topic, pages)
        raise ConfigError("docs", f"there is no page '{topic}'", near, () if near else pages)
    page = built_page(topic) or pages[topic]
    print(page)
    if page.suffix == ".html" and sys.stdout.isatty():
        webbrowser.open(page.as_uri())
    return 0


def find_pages() -> dict[str, Path]:
    """Return the pages by topic: inside an installed package, or at a checkout's root."""
    package = Path(snnlab.__file__).parent
    folder = package / "docs" if (package / "docs").is_dir() else package.parent / "docs"
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.md"))}


def built_page(topic: str) -> Path | None:
    """Return the page of the site that `make docs` has built in a checkout, or None."""
    page = Path(snnlab.__file__).parents[1] / "build" / "site" / f"{topic}.html"
    return page if page.is_file() else None


def title(page: Path) -> str:
    """Return the heading of a page."""
    with page.open(encoding="utf-8") as lines:
        return next(line for line in lines if line.startswith("# ")).removeprefix("# ").strip()
