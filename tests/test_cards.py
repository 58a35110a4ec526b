"""The section `card` of a model's file: read, checked, and left out of experiments."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnlab.cards import Card, Published, parse_card, read_card, without_card
from snnlab.config.compose import compose_experiment
from snnlab.config.folders import config_folder, group_files
from snnlab.errors import ConfigError, UnknownSettingError

from .refusals import assert_raises

LAYERS = "layers:\n  flatten: {type: flatten}\n  out: {type: linear, out_features: 10}\n"
FILE = f"# snnlab train model=net\n# Mine.\n{LAYERS}card:\n  source: me\n\n  open:\n  - nothing\ninit: null\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "net.yaml").write_text(FILE)
    return tmp_path


def test_a_card_is_read_from_its_file_alone(folder: Path) -> None:
    assert read_card(folder / "model" / "net.yaml") == Card(source="me", open=["nothing"])
    (folder / "model" / "heir.yaml").write_text("# snnlab train model=heir\ndefaults: [net, _self_]\n")
    assert read_card(folder / "model" / "heir.yaml") == Card()


def test_an_experiment_has_no_card(folder: Path) -> None:
    experiment, _ = compose_experiment(["model=net"], folder)
    assert experiment.record is not None
    assert "card" not in experiment.model
    assert "card" not in experiment.record["model"]


def test_the_text_without_a_card_has_everything_else() -> None:
    assert without_card(FILE) == f"# snnlab train model=net\n# Mine.\n{LAYERS}init: null\n"
    assert without_card(LAYERS) == LAYERS


def test_published_figures_have_how_they_were_chosen() -> None:
    figure = {"data": "SHD", "figure": "90 %", "chosen": "on the test recordings"}
    assert parse_card({"published": [figure]}).figures == [Published(**figure)]


MISTAKES = [
    ("a text", ConfigError, ["model.card", "mapping"]),
    ({"sources": "me"}, UnknownSettingError, ["model.card.sources", "source"]),
    ({"checked": "all"}, ConfigError, ["model.card.checked"]),
    ({"parameters": 0}, ConfigError, ["model.card.parameters", 1]),
    ({"published": [{"data": "SHD", "figure": "90 %"}]}, ConfigError, ["model.card.published.0", "chosen"]),
]


@pytest.mark.parametrize(("node", "kind", "facts"), MISTAKES, ids=[str(node) for node, _, _ in MISTAKES])
def test_a_mistake_is_refused_with_its_place(node: object, kind: type[ConfigError], facts: list[object]) -> None:
    with assert_raises(kind, *facts):
        parse_card(node)


def test_a_mistake_in_a_file_has_its_line(folder: Path) -> None:
    path = folder / "model" / "net.yaml"
    path.write_text(f"# snnlab train model=net\n{LAYERS}card:\n  licens: mine\n")
    with assert_raises(UnknownSettingError, "net.yaml:6", "licens", "licence"):
        compose_experiment(["model=net"], folder)


def test_every_packaged_model_has_a_source() -> None:
    cards = {name: read_card(path) for name, path in group_files("model", config_folder()).items()}
    assert not [name for name, card in cards.items() if card.source is None]
    foreign = {name: card for name, card in cards.items() if card.code is not None}
    assert not [name for name, card in foreign.items() if card.licence is None or not card.checked]
