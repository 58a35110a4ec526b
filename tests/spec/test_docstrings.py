from __future__ import annotations

from snnlab.nn import LAYERS, NEURONS
from snnlab.spec.docstrings import argument_texts, first_sentence
from snnlab.spec.signatures import fields_of


class Base:
    """A base.

    Args:
        one: The base's one.
        two: The base's two, which needs
            a second line.
    """


class Child(Base):
    """Does this. And that, in
    a second sentence.

    More.

    Args:
        one: See `Base`, as all that follow.
        two: Its own two: with a colon.
        three (int, optional): In torch's style.

            With a paragraph.

    Shape:
        x: `[N]`.
    """


def test_the_first_sentence_is_one_line() -> None:
    assert first_sentence(Child) == "Does this."
    assert first_sentence(Base) == "A base."
    assert first_sentence(lambda: None) == ""


def test_the_texts_of_arguments_come_from_the_class_that_has_them() -> None:
    assert argument_texts(Child) == {
        "one": "The base's one.",
        "two": "Its own two: with a colon.",
        "three": "In torch's style. With a paragraph.",
    }
    assert argument_texts(Base)["two"] == "The base's two, which needs a second line."
    assert argument_texts(lambda: None) == {}


def test_every_setting_of_every_layer_has_a_text() -> None:
    factories = {kind: LAYERS.get(kind, kind) for kind in LAYERS}
    ours = {kind: f for kind, f in factories.items() if f.__module__.startswith("snnlab.")}  # not other tests' plugins
    for kind, factory in ours.items():
        assert first_sentence(factory), kind
        missing = [name for name, field in fields_of(factory, ("in_shape", "dt")).items() if not field.help]
        assert not missing, (kind, missing)
    assert fields_of(NEURONS.get("lif", "lif"))["v_threshold"].help.endswith("dimensionless.")
