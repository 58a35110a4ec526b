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
from snnlab.spec.docstrings import argument_texts
from snnlab.spec.signatures import check_settings, fields_of

from ..refusals import assert_raises

REGISTRIES = [nn.LAYERS, nn.NEURONS, nn.SURROGATES, nn.ENCODERS, nn.INITS, nn.LOSSES, nn.REGULARIZERS]
ENTRIES = [(registry, name) for registry in REGISTRIES for name in registry]


def help_on(thing: Any) -> str:
    return pydoc.plain(pydoc.render_doc(thing))


@pytest.mark.parametrize(("registry", "name"), ENTRIES, ids=[f"{one.kind}-{name}" for one, name in ENTRIES])
def test_each_registered_class_is_exported_and_documents_its_arguments(registry: Registry, name: str) -> None:
    entry = registry.get(name, "test")
    assert entry.__name__ in dir(nn)
    public = getattr(nn, entry.__name__)
    assert inspect.unwrap(public) is inspect.unwrap(entry)
    page = help_on(public)
    documented = [text for text in argument_texts(public) if text in inspect.signature(public).parameters]
    assert all(f" {text}: " in page for text in documented)


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


@pytest.mark.parametrize("name", list(nn.NEURONS))
def test_help_on_a_neuron_shows_each_argument_with_its_unit(name: str) -> None:
    neuron = inspect.unwrap(nn.NEURONS.get(name, "test"))
    page = help_on(neuron)
    lines = [line.strip(" |") for line in page.splitlines()]
    first = {line.partition(":")[0]: line for line in reversed(lines)}
    for setting in fields_of(neuron).values():
        assert setting.name in first
        assert not setting.unit or setting.unit in " ".join(argument_texts(neuron)[setting.name].split())
    if "dt" in inspect.signature(neuron).parameters:
        assert "dt: Length of a step, ms" in page
