"""The public names of `snnlab.nn`."""

from __future__ import annotations

import inspect
import math
import pydoc
from typing import Any

import pytest

from snnlab import nn
from snnlab.errors import ConfigError
from snnlab.registry import Registry
from snnlab.spec.signatures import check_settings, fields_of

from ..refusals import assert_raises

REGISTRIES = [nn.LAYERS, nn.NEURONS, nn.SURROGATES, nn.ENCODERS, nn.INITS, nn.LOSSES, nn.REGULARIZERS]
ENTRIES = [(registry, name) for registry in REGISTRIES for name in registry]


def help_on(thing: Any) -> str:
    return pydoc.plain(pydoc.render_doc(thing))


@pytest.mark.parametrize(("registry", "name"), ENTRIES, ids=[f"{one.kind}-{name}" for one, name in ENTRIES])
def test_each_registered_class_is_exported_and_help_shows_each_argument_with_its_unit(
    registry: Registry, name: str
) -> None:
    entry = registry.get(name, "test")
    assert entry.__name__ in dir(nn)
    public = getattr(nn, entry.__name__)
    assert inspect.unwrap(public) is inspect.unwrap(entry)
    page = " ".join(help_on(public).replace("|", " ").split())
    for field in fields_of(public).values():
        text = " ".join(field.help.replace("|", " ").split())
        assert text
        assert f" {field}: {text}" in page or (f" {field.name}: {text}" in page and field.unit in text)


@pytest.mark.parametrize(("registry", "name"), ENTRIES, ids=[f"{one.kind}-{name}" for one, name in ENTRIES])
def test_each_setting_refuses_what_is_out_of_its_range(registry: Registry, name: str) -> None:
    factory = registry.get(name, "test")
    for key, setting in fields_of(factory).items():
        ends = [setting.interval.low - 1, setting.interval.high + 1, math.nan] if setting.interval else []
        for value in ends:
            if not math.isinf(value):
                with assert_raises(ConfigError, f"a.{key}"):
                    check_settings(factory, {key: value}, "a", name)


def test_norm_over_time_and_dropout_can_be_imported() -> None:
    assert {"BatchNorm", "PerStepBatchNorm", "Dropout", "Recurrent"} <= set(dir(nn))
