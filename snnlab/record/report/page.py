"""A page: a template with its tables and pictures, in one HTML file that needs no network."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from snnlab.files import write_atomically
from snnlab.record.pictures.style import default_style
from snnlab.record.rendering import render

# What it shows, for who cannot see it too, and the picture: a figure, or the content of a PNG file.
Picture = tuple[str, Figure | bytes]


class Page(NamedTuple):
    """A page.

    Attributes:
        template: Its file in `templates`.
        subtitle: A line below.
        pictures: By section.
        values: What else the template names.
    """

    template: str
    title: str
    subtitle: str
    pictures: Mapping[str, Sequence[Picture]]
    values: Mapping[str, Any]

    def html(self) -> str:
        """Return the whole page."""
        own = {"title": self.title, "subtitle": self.subtitle, "pictures": self.pictures, "address": _address}
        return render(self.template, **own, **self.values)

    def write_figures(self, folder: Path, form: str) -> list[Path]:
        """Write each picture as a file of its own, named by what it shows, and return the files.

        Args:
            folder: Where they go; it is made.
            form: pdf, svg or png; pictures that a training drew are the PNG files that they are.
        """
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for name, picture in (one for section in self.pictures.values() for one in section):
            stem = re.sub(r"\W+", "_", name).strip("_")
            files.append(folder / f"{stem}.{form if isinstance(picture, Figure) else 'png'}")
            content = _content(picture, form)
            write_atomically(files[-1], lambda file, content=content: file.write(content))
        return files


def _content(picture: Figure | bytes, form: str) -> bytes:
    if not isinstance(picture, Figure):
        return picture
    file = io.BytesIO()
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with default_style():
        picture.savefig(file, format=form, metadata=dates.get(form))
    return file.getvalue()


def _address(picture: Figure | bytes) -> str:
    """Return a picture as the address of itself: a figure as lines that stay sharp on paper, or a PNG."""
    kind = "svg+xml" if isinstance(picture, Figure) else "png"
    return f"data:image/{kind};base64,{base64.b64encode(_content(picture, 'svg')).decode()}"
