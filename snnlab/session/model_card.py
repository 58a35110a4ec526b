"""The card of a model's file: picture, parameters and operations of its network, and its section `card`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from snnlab.cards import Card, read_card
from snnlab.config.compose import compose_experiment
from snnlab.config.folders import description
from snnlab.errors import SnnlabError, one_line
from snnlab.nn.parameter_counts import ParameterCounts, count_parameters
from snnlab.nn.summary import Summary, summarize
from snnlab.runs.diagram import text_diagram
from snnlab.session.session import Session

_LABEL_WIDTH, _TEXT_WIDTH = 13, 100


class CardNetwork(NamedTuple):
    """The network of a card, built without its data.

    Attributes:
        summary: Its layers.
        parameters: Its trainable parameters by kind.
        overrides: Those of the card, and its dataset.
        steps: The steps of a recording.
        steps_text: The same as text, with the length of a step.
    """

    summary: Summary
    parameters: ParameterCounts
    overrides: Sequence[str]
    steps: int
    steps_text: str


class ModelCard(NamedTuple):
    """A model's file, its card and its network.

    Attributes:
        name: Its name.
        text: Its first sentence.
        card: The facts of its section `card`.
        network: Its network, or the reason why it cannot be built.
    """

    name: str
    text: str
    card: Card
    network: CardNetwork | str


def model_card(name: str, path: Path, config_dir: str | Path | None = None) -> ModelCard:
    """Return the card of a model's file; its network has the data and the neuron of the card's overrides.

    Args:
        config_dir: The user's folder of YAML files.

    Raises:
        ConfigError: if the section `card` has a mistake.
    """
    card = read_card(path)
    try:
        experiment, _ = compose_experiment([*card.overrides, f"model={name}"], config_dir)
        session = Session(experiment)
        shape = session.settings.frame_shape
        named = any(one.startswith(("data=", "experiment=")) for one in card.overrides)
        network = CardNetwork(
            summarize(session.built, shape),
            count_parameters(session.built, shape),
            card.overrides if named else [f"data={experiment.data['type']}", *card.overrides],
            session.settings.steps,
            session.settings.steps_text,
        )
    except SnnlabError as error:  # a user's own file with a mistake, or one that needs settings
        return ModelCard(name, description(path), card, one_line(error))
    return ModelCard(name, description(path), card, network)


def card_lines(found: ModelCard) -> Iterator[str]:
    """Yield the card as lines of text."""
    yield f"{found.name}: {found.text}" if found.text else found.name
    if isinstance(found.network, str):
        yield f"the network cannot be built with the card's overrides: {found.network}"
    else:
        yield ""
        yield from text_diagram(found.network.summary)
    yield ""
    for label, texts in card_facts(found):
        for number, text in enumerate(texts):
            lines = textwrap.wrap(text, _TEXT_WIDTH - _LABEL_WIDTH, break_long_words=False, break_on_hyphens=False)
            for line_number, line in enumerate(lines):
                yield f"{label if number == line_number == 0 else '':{_LABEL_WIDTH}}{line}"


def card_facts(found: ModelCard) -> list[tuple[str, Sequence[str]]]:
    """Return the facts of a card, each with its label; those that are not known are left out."""
    card, network = found.card, found.network
    facts: list[tuple[str, Sequence[str]]] = []
    if not isinstance(network, str):
        facts += [
            ("with", [f"{' '.join(network.overrides)}: {network.steps_text}"]),
            ("parameters", [parameters_text(network), *unused_text(card)]),
            ("operations", [operations_text(network)]),
        ]
    texts = (("source", card.source), ("code", card.code), ("licence", card.licence))
    facts += [(label, [text]) for label, text in texts if text is not None]
    facts.append(("published", [f"{one.figure} on {one.data}: {one.chosen}" for one in card.figures]))
    facts += [("checked", card.checked), ("open", card.open)]
    return [(label, texts) for label, texts in facts if texts]


def parameters_text(network: CardNetwork) -> str:
    """Return the number of trainable parameters as text, with the kinds that there are."""
    counts = network.parameters
    kinds = ", ".join(f"{kind} {number:,}" for kind, number in counts._asdict().items() if number)
    return f"{sum(counts):,}: {kinds}" if kinds else "0"


def unused_text(card: Card) -> list[str]:
    """Return the parameters of the source that this network does not have, as text."""
    if card.unused is None or card.parameters is None:
        return []
    return [f"the source has {card.parameters:,}, of which nothing uses {card.unused:,}"]


def operations_text(network: CardNetwork) -> str:
    """Return the dense operations of a step and of a recording as text."""
    summary = network.summary
    more = " and an unknown number" if any(row.operations is None for row in summary.layers) else ""
    return (
        f"{summary.operations:,}{more} multiply-accumulates a step, zeros included;"
        f" {summary.operations * network.steps:,} a recording of {network.steps} step{'s' * (network.steps > 1)}"
    )
