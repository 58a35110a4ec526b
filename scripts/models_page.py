"""Write docs/models.md: the picture, the numbers and the facts of each packaged network, from its YAML.

    python scripts/models_page.py           # after a change of a model's YAML

`scripts/build_docs.py` makes the same page for the site, with figures in place of the drawings as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from snnlab.config.folders import config_folder, group_files
from snnlab.runs.diagram import text_diagram
from snnlab.runs.plots import network_figure
from snnlab.runs.tables import markdown
from snnlab.session.model_card import ModelCard, card_facts, model_card

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "models.md"
FIGURES = "models"  # the folder of the figures, next to the page
HEAD = """# Models

The networks that come with snnlab: `model=NAME`. `snnlab list models NAME` prints one of these cards, with the YAML.
Parameters and operations are computed from the layers, with the dataset and the neuron in the row "with". Operations
are multiply-accumulates of inputs with weights, zeros included. This page is made from the YAML files:
`python scripts/models_page.py`.

In a drawing the input is above. A square is a box of layers, with its output shape and its number of parameters. A
block is drawn to the right of its input: the line along its left side is a way around its layers.

"""
NAMES = tuple(group_files("model", config_folder()))


def main() -> None:
    PAGE.write_text(page(NAMES), encoding="utf-8")
    print(PAGE.relative_to(ROOT))


def page(names: Iterable[str], *, figures: bool = False) -> str:
    """Return the page of some models.

    Args:
        names: The models, in their order.
        figures: Whether it shows figures, of `write_figures`, or drawings as text.
    """
    names = list(names)
    rows = ["| model | parameters | operations a step | source | published |", "|---|---|---|---|---|"]
    rows += [table_row(name) for name in names]
    return HEAD + "\n".join([*rows, "", *(section(name, figure=figures) for name in names)])


def write_figures(folder: Path) -> None:
    """Draw each model as `NAME.svg` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        network = card(name).network
        if not isinstance(network, str):
            network_figure.draw(str(folder / f"{name}.svg"), name, network.summary, network.steps_text)


def table_row(name: str) -> str:
    """Return the row of a model in the table of the page."""
    found = card(name)
    numbers = ["", ""]
    if not isinstance(found.network, str):
        numbers = [f"{found.network.summary.parameters:,}", f"{found.network.summary.operations:,}"]
    figures = "; ".join(f"{one.figure} on {one.data}" for one in found.card.figures[:1])
    cells = [f"[`{name}`](#{name})", *map(markdown, (*numbers, found.card.source or "", figures))]
    return f"| {' | '.join(cells)} |"


def section(name: str, *, figure: bool = False) -> str:
    """Return the section of a model."""
    return "\n".join(_section_lines(card(name), figure=figure))


def _section_lines(found: ModelCard, *, figure: bool) -> Iterator[str]:
    yield f"## {found.name}\n"
    yield f"{markdown(found.text)}\n"
    if isinstance(found.network, str):
        yield f"The network cannot be built: {markdown(found.network)}\n"
    elif figure:
        yield f"![The layers of {found.name}]({FIGURES}/{found.name}.svg)\n"
    else:
        yield "\n".join(["```text", *text_diagram(found.network.summary), "```\n"])
    yield "| | |\n|---|---|"
    for label, texts in card_facts(found):
        yield f"| {label} | {'<br>'.join(map(markdown, texts))} |"
    yield ""


@cache
def card(name: str) -> ModelCard:
    """Return the card of a packaged model."""
    return model_card(name, group_files("model", config_folder())[name])


if __name__ == "__main__":
    main()
