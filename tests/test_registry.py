from __future__ import annotations

from typing import Any

import pytest

from snnlab.errors import ConfigError, DataError, UnknownSettingError
from snnlab.registry import Registry

from .refusals import assert_raises


class Ball:
    def __init__(self, size: int, *, colour: str = "red") -> None:
        if size < 1:
            raise ValueError(f"size must be >= 1, got {size}")
        self.size, self.colour = size, colour


@pytest.fixture
def toys() -> Registry:
    registry = Registry("toy")
    registry.register("ball")(Ball)
    return registry


def test_register_returns_the_class_itself() -> None:
    assert Registry("toy").register("ball")(Ball) is Ball


def test_context_goes_only_where_the_signature_asks_for_it(toys: Registry) -> None:
    @toys.register("marble")
    def marble(size: int, *, dt: float) -> tuple[int, float]:
        return size, dt

    assert toys.build("marble", {"size": 1}, "box", dt=0.5, in_shape=(2,)) == (1, 0.5)
    assert toys.build("ball", {"size": 1}, "box", dt=0.5).size == 1


def test_context_is_no_setting(toys: Registry) -> None:
    @toys.register("marble")
    def marble(*, dt: float) -> float:
        return dt

    with assert_raises(UnknownSettingError, "box.dt"):
        toys.build("marble", {"dt": 2.0}, "box", dt=0.5)


def test_a_name_can_be_taken_only_once(toys: Registry) -> None:
    with assert_raises(ValueError, "ball"):
        toys.register("ball")(Ball)


def test_an_unknown_kind_names_its_place_the_nearest_and_all(toys: Registry) -> None:
    with assert_raises(ConfigError, "box.a.type", "bal", "ball"):
        toys.build("bal", {}, "box.a")


def test_a_kind_far_from_all_gets_no_guess(toys: Registry) -> None:
    with assert_raises(ConfigError, "box.a.type", "zzz") as caught:
        toys.get("zzz", "box.a")
    assert not caught.value.hint


@pytest.mark.parametrize("kind", [["ball"], {}, 3])
def test_a_kind_that_is_no_text_is_refused(toys: Registry, kind: Any) -> None:
    with assert_raises(ConfigError, "box.a.type", "there"):
        toys.build(kind, {}, "box.a")


def test_a_refused_value_gets_its_place(toys: Registry) -> None:
    with assert_raises(ConfigError, "box.a", "size", ">= 1", 0):
        toys.build("ball", {"size": 0}, "box.a")


def test_places_of_nested_parts_are_joined(toys: Registry) -> None:
    @toys.register("box")
    def box(*, content: dict[str, Any]) -> Any:
        return toys.build("ball", content, "content")

    with assert_raises(ConfigError, "shelf.b.content.size", "x"):
        toys.build("box", {"content": {"size": "x"}}, "shelf.b")


def test_a_bug_is_not_dressed_up_as_a_users_mistake(toys: Registry) -> None:
    @toys.register("broken")
    def broken() -> None:
        raise KeyError("oops")

    with pytest.raises(KeyError):
        toys.build("broken", {}, "box")


def test_an_error_outside_the_yaml_keeps_its_message(toys: Registry) -> None:
    @toys.register("lost")
    def lost() -> None:
        raise DataError("a.bin", "missing")

    with assert_raises(DataError, "a.bin", "missing"):
        toys.build("lost", {}, "box")


def test_every_entry_is_in_the_wider_registry_too(toys: Registry) -> None:
    dolls = Registry("doll", within=toys)
    dolls.register("puppet")(Ball)
    assert list(dolls) == ["puppet"]
    assert list(toys) == ["ball", "puppet"]
    assert toys.build("puppet", {"size": 2}, "box").size == 2


def test_a_name_taken_in_the_wider_registry_is_refused(toys: Registry) -> None:
    dolls = Registry("doll", within=toys)
    with assert_raises(ValueError, "ball"):
        dolls.register("ball")(Ball)
    assert list(dolls) == []


def test_names_are_listed_in_order(toys: Registry) -> None:
    toys.register("abacus")(Ball)
    assert list(toys) == ["abacus", "ball"]
    assert "ball" in toys
    assert "doll" not in toys
