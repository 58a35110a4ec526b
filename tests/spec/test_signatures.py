from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest

from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.spec.field import MISSING, Field, type_problem
from snnlab.spec.interval import FINITE, above, at_least, between
from snnlab.spec.signatures import check_known, check_settings, checks_arguments, fields_of, has_parameter

from ..refusals import assert_raises

if TYPE_CHECKING:
    from nowhere import Unknown  # pyright: ignore[reportMissingImports]


def neuron(
    tau: Annotated[float, "ms"], *, size: int = 1, mode: Literal["a", "b"] = "a", dt: float | None = None
) -> None: ...


def nothing() -> None: ...


def anything(size: int = 1, **others: Any) -> None: ...


def foreign(thing: Unknown, size: int = 1) -> None: ...


class Neuron:
    def __init__(self, tau: Annotated[float | str | None, "ms"] = None) -> None: ...


def test_settings_are_read_with_unit_default_and_type() -> None:
    settings = fields_of(neuron, supplied=["dt"])
    assert list(settings) == ["tau", "size", "mode"]
    tau = settings["tau"]
    assert (tau.annotation, tau.unit, tau.default, tau.required) == (float, "ms", MISSING, True)
    assert (settings["size"].default, settings["size"].required) == (1, False)
    assert list(map(str, settings.values())) == ["tau (ms)", "size", "mode"]


def test_settings_of_a_class_are_those_of_its_init() -> None:
    assert fields_of(Neuron)["tau"].unit == "ms"
    assert list(fields_of(Neuron)) == ["tau"]


def test_parameters_are_found_by_name() -> None:
    assert has_parameter(neuron, "dt")
    assert not has_parameter(neuron, "in_shape")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"tau": 1.0, "siz": 1},
            ("m.a.siz", "size"),
        ),
        ({"tau": 1.0, "zzz": 1}, ("m.a.zzz",)),
        ({"tau": 1.0, 3: 1}, ("m.a.3", 3)),
        ({"tau": 1.0, "dt": 1.0}, ("m.a.dt",)),
        ({"size": 1}, ("m.a", "neuron")),
        ({"tau": "x"}, ("m.a.tau", "x")),
        ({"tau": None}, ("m.a.tau", "null")),
        ({"tau": 1.0, "size": 1.5}, ("m.a.size", 1.5)),
        ({"tau": 1.0, "size": True}, ("m.a.size", "true")),
        ({"tau": 1.0, "mode": "c"}, ("m.a.mode", "c")),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(settings: dict[Any, Any], expected: tuple) -> None:
    with assert_raises((ConfigError, UnknownSettingError), *expected):
        check_settings(neuron, settings, "m.a", "neuron", supplied=["dt"])


def test_a_factory_without_settings_is_reported_as_such() -> None:
    with assert_raises(UnknownSettingError, "m.a"):
        check_settings(nothing, {"a": 1}, "m", "nothing")


def test_open_ended_factories_take_any_name_but_check_the_known() -> None:
    check_settings(anything, {"other": object()}, "m", "anything")
    with assert_raises(ConfigError, "m.size", "expected"):
        check_settings(anything, {"size": "x", "other": 1}, "m", "anything")


def test_open_ended_factories_refuse_a_likely_typo() -> None:
    with assert_raises(UnknownSettingError, "m.sise", "size"):
        check_settings(anything, {"sise": 2}, "m", "anything")


def test_a_long_list_is_left_out_where_the_meant_one_is_named() -> None:
    known = {f"setting_{c}": Field(f"setting_{c}", int, "", 1) for c in "abcdefghijklmnopqrstu"}
    with assert_raises(UnknownSettingError, "m.setting_", 21):
        check_known(known, {"setting_": 2}, "m", "x")
    with assert_raises(UnknownSettingError, "m.zzz", "setting_a", "setting_b", "setting_u"):
        check_known(known, {"zzz": 2}, "m", "x")


def test_settings_of_the_experiment_itself_have_no_place_before_them() -> None:
    with assert_raises(ConfigError, "size", "x"):
        check_settings(anything, {"size": "x"}, "config", "the experiment")


def test_annotations_that_cannot_be_read_accept_everything() -> None:
    check_settings(foreign, {"thing": 1, "size": "x"}, "m", "foreign")
    with assert_raises(UnknownSettingError, "m.sise", "size"):
        check_settings(foreign, {"thing": 1, "sise": 1}, "m", "foreign")


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (1, int),
        (1, float),
        (1.5, float),
        (True, bool),
        ("x", str),
        (None, int | None),
        (3, int | None),
        ("a", Literal["a", "b"]),
        (True, Literal[True]),
        (2.0, Annotated[float, "ms"]),
        (None, Annotated[float | str | None, "ms"]),
        ("2 steps", Annotated[float, "ms"] | str),
        (3, int | Sequence[int]),
        ([3, 5], int | Sequence[int]),
        ((3, 5), Sequence[int]),
        ([], list[int]),
        ((1, "x"), tuple[int, str]),
        ((1, 2, 3), tuple[int, ...]),
        ({"a": 1}, Mapping[str, Any]),
        ({"a": 1}, dict),
        ("same", int | Sequence[int] | Literal["same"]),
        (object(), Any),
        ("anything", object),
        (Neuron(), Neuron | None),
    ],
)
def test_values_that_fit(value: Any, annotation: Any) -> None:
    assert type_problem(value, annotation) is None


def ranged(
    tau: Annotated[float | str | None, "ms", above(0)] = None,
    size: Annotated[int | Sequence[int], at_least(1)] = 1,
    part: Annotated[float, between(0, 1)] = 0.5,
    padding: Annotated[int, at_least(0)] | Literal["same"] = 0,
    gain: Annotated[float | Literal["1-a"], FINITE] = 1.0,
) -> tuple[Any, ...]:
    return tau, size, part, padding, gain


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"tau": 0}, ("tau", "> 0", 0)),
        ({"tau": float("inf")}, ("tau", "> 0", "inf")),
        ({"size": 0}, ("size", ">= 1", 0)),
        ({"size": [3, 0]}, ("size", ">= 1", [3, 0])),
        ({"part": 1.5}, ("part", 0, 1, 1.5)),
        ({"padding": -1}, ("padding", ">= 0", -1)),
        ({"gain": float("nan")}, ("gain", "finite", "nan")),
        ({"gain": "2"}, ("gain", "1-a", "'2'")),
    ],
)
def test_a_value_out_of_its_range_is_refused_in_a_yaml_and_from_python(
    settings: dict[str, Any], expected: tuple
) -> None:
    place, *facts = expected
    with assert_raises(ConfigError, f"m.a.{place}", *facts):
        check_settings(ranged, settings, "m.a", "ranged")
    with assert_raises(ConfigError, place, *facts):
        checks_arguments(ranged)(**settings)


def test_values_within_their_range_pass_as_do_others_than_numbers() -> None:
    check_settings(ranged, {"tau": None, "size": [1, 2], "padding": "same", "gain": "1-a", "part": 1}, "m", "ranged")
    assert checks_arguments(ranged)("2 steps", (1, 2), padding="same") == ("2 steps", (1, 2), 0.5, "same", 1.0)


def test_a_class_and_its_base_check_their_own_signatures() -> None:
    @checks_arguments
    class Base:
        def __init__(self, size: Annotated[int, at_least(1)]) -> None:
            self.size = size

    @checks_arguments
    class Double(Base):
        def __init__(self, half: Annotated[int, at_least(0)]) -> None:
            super().__init__(2 * half)

    assert Double(1).size == 2
    assert list(fields_of(Double)) == ["half"]
    for half, name in ((-1, "half"), (0, "size")):
        with pytest.raises(ConfigError) as caught:
            Double(half)
        assert caught.value.place == name
