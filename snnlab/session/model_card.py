"""The card of a model's file, or of trained weights: picture, parameters and operations of the network, and facts."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from snnlab.cards import Card, read_card, read_card_file
from snnlab.config.compose import compose_experiment
from snnlab.config.folders import description
from snnlab.config.recorded_run import compose_run
from snnlab.config.schema import Experiment
from snnlab.errors import SnnlabError, one_line
from snnlab.nn.parameter_counts import ParameterCounts, count_parameters
from snnlab.nn.summary import Summary, summarize
from snnlab.runs.diagram import text_diagram
from snnlab.runs.recorded import RecordedRun, read_run
from snnlab.runs.statistics import wilson
from snnlab.session.session import Session
from snnlab.zoo import CARD_FILE, PREFIX, run_label, run_path

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
        record: How trained weights were made, and their accuracy, with labels.
    """

    name: str
    text: str
    card: Card
    network: CardNetwork | str
    record: Sequence[tuple[str, Sequence[str]]] = ()


def model_card(name: str, path: Path, config_dir: str | Path | None = None) -> ModelCard:
    """Return the card of a model's file; its network has the data and the neuron of the card's overrides.

    Args:
        config_dir: The user's folder of YAML files.
    """
    card = read_card(path)
    try:
        experiment, _ = compose_experiment([*card.overrides, f"model={name}"], config_dir)
        named = any(one.startswith(("data=", "experiment=")) for one in card.overrides)
        own = card.overrides if named else [f"data={experiment.data['type']}", *card.overrides]
        network = _card_network(experiment, own)
    except SnnlabError as error:  # a user's own file with a mistake, or one that needs settings
        return ModelCard(name, description(path), card, one_line(error))
    return ModelCard(name, description(path), card, network)


def zoo_card(name: str) -> ModelCard:
    """Return the card of the packaged weights `zoo:NAME`."""
    folder = run_path(f"{PREFIX}{name}")
    experiment, recorded = compose_run(folder, use="shape"), read_run(folder)
    network = _card_network(experiment, [f"data={experiment.data['type']}"])
    record = [
        ("accuracy", [_accuracy_text(recorded)]),
        ("made by", [" ".join(map(quote, recorded.required("command")))]),
    ]
    path = folder / CARD_FILE
    return ModelCard(f"{PREFIX}{name}", description(path), read_card_file(path), network, record)


def _card_network(experiment: Experiment, overrides: Sequence[str]) -> CardNetwork:
    session = Session(experiment)
    built, settings = session.built, session.settings
    shape = settings.frame_shape
    summary, parameters = summarize(built, shape), count_parameters(built, shape)
    return CardNetwork(summary, parameters, overrides, settings.steps, settings.steps_text)


def _accuracy_text(recorded: RecordedRun) -> str:
    """Return the accuracy of a run with its 95 % interval, and how its epoch was chosen."""
    selection, metrics = recorded.selection, recorded.metrics
    part = "test" if "test/accuracy" in metrics else "val"
    number, accuracy = selection[f"{part}_size"], metrics[f"{part}/accuracy"]
    low, high = wilson(round(accuracy * number), number)
    return (
        f"{accuracy:.1%} of {number:,} {part} recordings (95 % interval {low:.1%} to {high:.1%}); trained on"
        f" {selection['train_size']:,}, epoch {selection['epoch'] + 1} of {selection['epochs']} ({selection['rule']}),"
        f" seed {recorded.seed}"
    )


def card_lines(found: ModelCard) -> Iterator[str]:
    """Yield the card as lines of text."""
    yield f"{found.name}: {found.text}" if found.text else found.name
    if isinstance(found.network, str):
        yield f"the network cannot be built with the card's overrides: {found.network}"
    else:
        yield ""
        yield from text_diagram(found.network.summary)
    yield ""
    yield from _fact_lines(card_facts(found))


def bundle_card(folder: Path) -> Iterator[str]:
    """Yield the card of an unpacked bundle as lines of text; neither its plugins nor its network are needed."""
    yield from _fact_lines(card_facts(ModelCard(run_label(folder), "", read_card_file(folder / CARD_FILE), "")))


def _fact_lines(facts: Iterable[tuple[str, Sequence[str]]]) -> Iterator[str]:
    for label, texts in facts:
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
    facts += found.record
    facts.append(("robustness", [] if card.robustness is None else [card.robustness]))
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
