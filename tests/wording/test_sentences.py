"""The exact texts of errors: their parts, values of a wrong type, types and ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from snnlab.errors import ConfigError, DamagedError, DataError, SnnlabError
from snnlab.spec.annotations import describe_type
from snnlab.spec.field import type_problem
from snnlab.spec.interval import FINITE, above, at_least, between
from snnlab.spec.signatures import fields_of


class Neuron: ...


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConfigError("", "out of memory"), "out of memory"),
        (ConfigError("seed", "is no number", "write seed=1"), "seed: is no number; write seed=1"),
        (ConfigError("seed", "is not there", "Did you mean 'seeds'?"), "seed: is not there. Did you mean 'seeds'?"),
        (ConfigError("loss", "is none", allowed=["a", "b"]), "loss: is none\n  there are: a, b"),
        (
            DataError("data.root", "is empty").with_fields(origin=(Path("mine.yaml"), 3)),
            "mine.yaml:3: data.root: is empty",
        ),
        (DamagedError(Path("a"), "cut", "remove it"), "a: cannot be read (cut); remove it"),
    ],
)
def test_an_error_has_place_message_hint_and_choices(error: SnnlabError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize(
    ("value", "annotation", "problem"),
    [
        ("1", int, "expected a whole number, got '1'"),
        (1.0, int, "expected a whole number, got 1.0"),
        (True, int, "expected a whole number, got true"),
        (False, float, "expected a number, got false"),
        ("1.0", float, "expected a number, got '1.0'"),
        (1, bool, "expected true or false, got 1"),
        (1, str, "expected text, got 1"),
        ("x", int | None, "expected a whole number or null, got 'x'"),
        ("x", Annotated[float | None, "ms"], "expected a number or null, got 'x'"),
        (None, int, "expected a whole number, got null"),
        ("c", Literal["a", "b"], "expected one of a, b, got 'c'"),
        (["a"], Literal["a", "b"], "expected one of a, b, got ['a']"),
        (True, Literal["a"], "expected one of a, got true"),
        ("35", Sequence[int], "expected a list of whole numbers, got '35'"),
        ([1, "x"], list[int], "expected a list of whole numbers, got [1, 'x']"),
        ([1.5], int | Sequence[int], "expected a whole number or a list of whole numbers, got [1.5]"),
        ([1], tuple[int, int], "expected a list of whole numbers, got [1]"),
        ([1, "x"], tuple[int, ...], "expected a list of whole numbers, got [1, 'x']"),
        (3, Mapping[str, int], "expected a mapping, got 3"),
        (3, dict, "expected a mapping, got 3"),
        (3, list, "expected a list, got 3"),
        ("x", Neuron | Mapping[str, Any] | None, "expected a mapping or null, got 'x'"),
        (list(range(99)), int, f"expected a whole number, got {str(list(range(99)))[:57]}..."),
    ],
)
def test_values_that_do_not_fit_are_described(value: Any, annotation: Any, problem: str) -> None:
    assert type_problem(value, annotation) == problem


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (float | Literal["1-a"], "a number or one of 1-a"),
        (list, "a list"),
        (list[str], "a list of texts"),
        (Annotated[int, "steps"], "a whole number"),
    ],
)
def test_types_are_described(annotation: Any, words: str) -> None:
    assert describe_type(annotation) == words


def ranged(
    tau: Annotated[float | str | None, "ms", above(0)] = None,
    size: Annotated[int | Sequence[int], at_least(1)] = 1,
    part: Annotated[float, between(0, 1)] = 0.5,
    padding: Annotated[int, at_least(0)] | Literal["same"] = 0,
    gain: Annotated[float | Literal["1-a"], FINITE] = 1.0,
) -> None: ...


def test_a_setting_has_its_type_and_range() -> None:
    kinds = {name: setting.kind for name, setting in fields_of(ranged).items()}
    assert kinds == {
        "tau": "a number > 0 or text or null",
        "size": "a whole number >= 1 or a list of whole numbers >= 1",
        "part": "a number between 0 and 1",
        "padding": "a whole number >= 0 or one of same",
        "gain": "a number or one of 1-a",
    }
