"""Classes whose settings are annotated attributes."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Annotated, Any, ClassVar

import pytest

from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.spec.declared import Converted, Declared, declared_fields, no_setting, setting
from snnlab.spec.field import Excludes, Help
from snnlab.spec.interval import above, at_least
from snnlab.spec.signatures import check_settings, checks_arguments, document_arguments, fields_of

from ..refusals import assert_raises


def doubled(name: str) -> property:
    return property(lambda owner: 2 * vars(owner)[name], lambda owner, value: vars(owner).__setitem__(name, value))


class Leak(Declared):
    """A leak.

    Args:
        tau: Its time constant.
    """

    dt: float | None = setting(default=None, kw_only=False)
    tau: Annotated[float | None, "ms", above(0), Excludes("factor")] = 20.0
    factor: Annotated[float | None, Help("In place of it.")] = None
    gain: Annotated[Converted[float, Any], at_least(0)] = setting(default=1.0, read_by=doubled)
    family: ClassVar[str] = "leaks"
    state: list[int] = no_setting()

    def prepare(self) -> None:
        self.state = [0]


class Other(Leak):
    """Another one."""

    tau: Annotated[float | None, "ms", above(0), Excludes("factor")] = 5.0
    gain: Annotated[Converted[float, Any], at_least(0)] = setting(default=3.0)
    size: int = setting()


class Fixed(Other):
    size: int = no_setting(7)


class Renamed(Declared):
    """One whose setting has the name of a method.

    Args:
        read: How it is read.
    """

    how: Annotated[str, Help("Not shown.")] = setting(default="mean", kw_only=False, alias="read")

    def read(self) -> str:
        return self.how


class Handwritten(Leak):
    """One with a constructor of its own."""

    weight: list[float]

    def __init__(self, size: Annotated[int, at_least(1)]) -> None:
        super().__init__(1.0, tau=float(size))
        self.weight = [0.0] * size


def test_fields_come_from_all_bases_and_a_subclass_changes_defaults() -> None:
    assert list(declared_fields(Leak)) == ["dt", "tau", "factor", "gain"]
    assert {name: one.default for name, one in fields_of(Other).items() if not one.required} == {
        **{"dt": None, "tau": 5.0, "factor": None, "gain": 3.0}
    }
    assert fields_of(Other)["size"].required
    assert (Other(size=2).tau, Fixed().size, list(fields_of(Fixed))) == (5.0, 7, ["dt", "tau", "factor", "gain"])


def test_the_signature_is_that_of_the_fields() -> None:
    parameters = inspect.signature(Other).parameters
    assert list(parameters) == ["dt", "tau", "factor", "gain", "size"]
    assert [one.kind.name for one in parameters.values()][:2] == ["POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY"]
    assert (parameters["tau"].annotation, parameters["gain"].annotation) == (float | None, float)
    assert list(inspect.signature(Handwritten).parameters) == ["size"]
    with pytest.raises(TypeError, match="tua"):
        Leak(tua=3)  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match="size"):
        Other()  # pyright: ignore[reportCallIssue]


def test_a_property_reads_the_attribute_also_in_a_subclass() -> None:
    assert (Leak(gain=2).gain, Other(size=1).gain) == (4.0, 6.0)


def test_a_setting_may_have_another_name_than_its_attribute() -> None:
    assert (Renamed("sum").read(), Renamed(read="last").how, Renamed().read()) == ("sum", "last", "mean")
    assert list(inspect.signature(Renamed).parameters) == ["read"]
    assert [(one.name, one.help) for one in fields_of(Renamed).values()] == [("read", "How it is read.")]
    with assert_raises(UnknownSettingError, "a.how", "read"):
        check_settings(Renamed, {"how": "sum"}, "a", "it")


def test_a_given_setting_excludes_the_default_of_its_rival_and_null_is_not_given() -> None:
    one = Leak(factor=0.5)
    assert (one.tau, one.factor) == (None, 0.5)
    assert Leak(tau=None).tau == 20.0
    assert fields_of(Leak)["factor"].excludes == ("tau",)
    with assert_raises(ConfigError, "", "tau", "factor"):
        Leak(tau=1.0, factor=0.5)


def test_values_out_of_their_range_are_refused_from_python_and_in_a_yaml() -> None:
    with assert_raises(ConfigError, "gain", ">= 0", -1):
        Leak(gain=-1)
    with assert_raises(ConfigError, "a.tau", "> 0", 0):
        check_settings(Leak, {"tau": 0}, "a", "leak")
    with assert_raises(UnknownSettingError, "a.taus", "tau"):
        check_settings(Leak, {"taus": 0}, "a", "leak")


def test_a_handwritten_constructor_stays_legal_and_is_checked() -> None:
    made = checks_arguments(Handwritten)(3)
    assert (made.tau, made.dt, made.weight, made.state) == (3.0, 1.0, [0.0, 0.0, 0.0], [0])
    assert list(fields_of(Handwritten)) == ["size"]
    with assert_raises(ConfigError, "size", ">= 1", 0):
        Handwritten(0)


def test_the_docstring_has_all_arguments_in_order() -> None:
    document_arguments(Other)
    assert inspect.getdoc(Other) == (
        "Another one.\n\nArgs:\n    tau (ms): Its time constant.\n    factor: In place of it."
    )


def test_a_copy_has_the_same_settings() -> None:
    for other in (copy.deepcopy(Leak(factor=0.5)), pickle.loads(pickle.dumps(Leak(factor=0.5)))):
        assert (other.tau, other.factor, other.gain) == (None, 0.5, 2.0)


def test_a_class_variable_that_a_base_announces_keeps_its_value_and_is_no_setting():
    class Announced(Declared):
        spiking: ClassVar[bool]

    class Spiking(Announced):
        spiking: ClassVar[bool] = True

    class Later(Announced):
        spiking = True

    assert Spiking.spiking
    assert Later.spiking
    assert not declared_fields(Spiking)
