"""`snnlab docs`: the pages of the documentation."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import snnlab
from snnlab.cli.command import Proposed, command
from snnlab.errors import ConfigError, did_you_mean


def topics(words: Sequence[str]) -> list[str]:
    """Return the topics, for completion."""
    return list(find_pages())


@command("docs", section="data and files")
def docs(topic: Annotated[str | None, Proposed(topics)] = None) -> None:
    """List the pages of the documentation, or open one.

    A page opens in a browser if the site is built (`make docs` in a checkout), else its path is printed.

    Args:
        topic: the page

    Examples:
        snnlab docs              the pages
        snnlab docs data         the page on data
    """
    pages = find_pages()
    if topic is None:
        width = max(map(len, pages))
        for name, path in pages.items():
            print(f"{name:{width}}   {title(path)}")
        return
    if topic not in pages:
        near = did_you_mean(topic, pages)
        raise ConfigError("docs", f"there is no page '{topic}'", near, () if near else pages)
    page = built_page(topic) or pages[topic]
    print(page)
    if page.suffix == ".html" and sys.stdout.isatty():
        webbrowser.open(page.as_uri())


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
