"""Fields read from source, without running it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from snnlab.config.catalogue import class_fields, kind_named_by, module_file
from snnlab.spec.field import Field
from snnlab.spec.interval import Interval
from snnlab.spec.source import Described, Sources

FILES = {
    "a/__init__": "from a.base import Base as Base\nfrom .names import Width",
    "a/names": """
from typing import Annotated, Literal, Protocol
from torch import Tensor
from snnlab.spec.interval import above
LEAST = 2
NAMES = ("low", "high")
Width = Annotated[float | Tensor, "ms", above(LEAST)]
class Shape(Protocol): ...
Mode = Literal["a", "b"] | bool
""",
    "a/base": """
from dataclasses import dataclass
import attrs
from a import names
from a.names import Mode, NAMES, Width
from snnlab.spec.declared import Declared, no_setting, setting
from snnlab.spec.field import Excludes
open("ran", "w")
class Base(Declared):
    width: Width = 3.0
    low: Annotated[int, Excludes(*NAMES)] = 1
    high: int = no_setting(4)
    _hidden: int = 5
class Child(Base):
    mode: Mode = setting(default="a", kw_only=False)
    top: float = setting(alias="v_max")
class Own(Base):
    def __init__(self, shape: names.Shape, *, size: "int | None" = None, **others): ...
@dataclass
class Data:
    size: int
@attrs.define
class Written:
    size: int
class Unknown(attrs.Thing):
    size: int
def function(x: open("ran", "w"), y: Missing[int] = print()): ...
""".replace("from dataclasses", "from typing import Annotated\nfrom dataclasses", 1),
}


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sources:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    for name, text in FILES.items():
        (tmp_path / f"{name}.py").write_text(text)

    def find(name: str) -> Path | None:
        paths = [tmp_path.joinpath(*name.split("."), "__init__.py"), tmp_path.joinpath(f"{name.replace('.', '/')}.py")]
        return next((path for path in paths if path.is_file()), module_file(name))

    return Sources(find)


def read(sources: Sources, name: str, module: str = "a.base") -> Described | None:
    return sources.described(sources.module(module), name)


def fields(sources: Sources, name: str, module: str = "a.base") -> Mapping[str, Field]:
    found = read(sources, name, module)
    assert found is not None
    return found.fields()


def test_annotated_attributes_are_those_of_the_class_and_its_bases(sources: Sources) -> None:
    found = fields(sources, "Child")
    assert list(found) == ["mode", "width", "low", "v_max"]
    assert (found["width"].unit, found["width"].interval, found["width"].default) == ("ms", Interval(2), 3.0)
    assert found["v_max"].required
    assert fields(sources, "Base", "a") == fields(sources, "Base")


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [("width", 3, True), ("width", 2, False), ("width", "x", False), ("mode", "b", True), ("mode", "c", False)],
)
def test_names_of_other_files_stand_for_their_values(sources: Sources, name: str, value: Any, fits: bool) -> None:
    assert (fields(sources, "Child")[name].problem(value) is None) == fits


def test_a_constructor_of_its_own_is_read(sources: Sources) -> None:
    described = read(sources, "Own")
    assert described is not None
    assert described.is_open
    found = described.fields()
    assert list(found) == ["shape", "size"]
    assert found["size"].problem("x")
    assert not found["shape"].problem("x")  # a protocol


def test_what_another_decorator_or_base_writes_is_not_known(sources: Sources) -> None:
    assert list(fields(sources, "Data")) == ["size"]
    assert read(sources, "Written") is None
    assert read(sources, "Unknown") is None
    assert read(sources, "Nothing") is None


def test_nothing_of_a_file_runs(sources: Sources, tmp_path: Path) -> None:
    found = fields(sources, "function")
    assert not found["x"].problem(object())
    assert not found["y"].required
    assert fields(sources, "Child")
    assert not (tmp_path / "ran").exists()


def test_a_class_of_another_package_is_read_where_it_is_allowed() -> None:
    found = class_fields("optimizer", "torch.optim.AdamW")
    assert found is not None
    assert found[0]["betas"].problem([0.9, "x"])
    assert not found[0]["betas"].problem([0.9, 0.99])
    assert class_fields("optimizer", "subprocess.Popen") is None
    assert class_fields("callbacks", "torch.optim.AdamW") is None


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("model.layers.a.type", "layers"),
        ("model.layers.a.layers.b.type", "layers"),
        ("model.layers.a.branches.b.c.type", "layers"),
        ("model.layers.a.feedback.1.layers.b.type", "layers"),
        ("model.layers.a.neuron.surrogate.type", "surrogates"),
        ("model.layers.a.layers.surrogate.type", "layers"),
        ("model.layers.a.delay.type", None),
        ("data.augment[3].type", "augmentations"),
        ("loss.regularizers.a.type", "losses"),
    ],
)
def test_a_key_names_the_entries_of_one_kind(key: str, kind: str | None) -> None:
    assert kind_named_by(key) == kind
