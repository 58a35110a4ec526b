"""The page of the packaged networks for the site: the figure, the numbers and the facts of each, from its YAML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from snnlab.config.folders import config_folder, group_files
from snnlab.runs.plots import network_figure
from snnlab.runs.tables import markdown
from snnlab.session.model_card import ModelCard, card_facts, model_card, zoo_card
from snnlab.zoo import zoo_names

FIGURES = "models"  # the folder of the figures, next to the page
HEAD = """# Models

The networks that come with snnlab: `model=NAME`. `snnlab list models NAME` prints one of these cards, with the YAML.
Parameters and operations are computed from the layers, with the dataset and the neuron in the row "with". Operations
are multiply-accumulates of inputs with weights, zeros included.

"""
WEIGHTS = """## Trained weights

Small networks that come with snnlab. `zoo:NAME` stands in place of a run's folder: in `predict`, `evaluate`, `show`,
`stream`, `export`, `init_from=` and `snnlab.load`. `snnlab list zoo NAME` prints the card. Nothing writes into their
folders; `evaluate` writes into `outputs/zoo_NAME`.
"""
NAMES = tuple(group_files("model", config_folder()))


def page(names: Iterable[str]) -> str:
    """Return the page of some models."""
    names = list(names)
    rows = ["| model | parameters | operations a step | source | published |", "|---|---|---|---|---|"]
    rows += [table_row(name) for name in names]
    weights = ["| weights | network | accuracy | licence |", "|---|---|---|---|", *map(weights_row, zoo_names())]
    parts = [*rows, "", WEIGHTS, *weights, "", *map(section, names)]
    return HEAD + "\n".join(parts)


def weights_row(name: str) -> str:
    """Return the row of trained weights in the table of the page."""
    found = zoo_card(name)
    (_, (accuracy,)), *_ = found.record
    cells = [f"`{found.name}`", *map(markdown, (found.text, accuracy, found.card.licence or ""))]
    return f"| {' | '.join(cells)} |"


def write_figures(folder: Path, names: Iterable[str]) -> None:
    """Draw some models, each as `NAME.svg`, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
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


def section(name: str) -> str:
    """Return the section of a model."""
    return "\n".join(_section_lines(card(name)))


def _section_lines(found: ModelCard) -> Iterator[str]:
    yield f"## {found.name}\n"
    yield f"{markdown(found.text)}\n"
    if isinstance(found.network, str):
        yield f"The network cannot be built: {markdown(found.network)}\n"
    else:
        yield f"![The layers of {found.name}]({FIGURES}/{found.name}.svg)\n"
    yield "| | |\n|---|---|"
    for label, texts in card_facts(found):
        yield f"| {label} | {'<br>'.join(map(markdown, texts))} |"
    yield ""


@cache
def card(name: str) -> ModelCard:
    """Return the card of a packaged model."""
    return model_card(name, group_files("model", config_folder())[name])
