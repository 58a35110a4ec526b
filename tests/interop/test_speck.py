"""The fit of networks to the cores of Speck."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from snnlab.errors import ConfigError
from snnlab.interop.speck import CORES, Memory, assign, fit
from snnlab.nn import build_network

from ..refusals import assert_error_has

IAF = {"type": "iaf"}


def conv(channels: int, kernel: int | list[int] = 3, **settings: Any) -> dict[str, Any]:
    return {"type": "conv2d", "out_channels": channels, "kernel_size": kernel, "bias": False, **settings}


def synsense() -> dict[str, dict[str, Any]]:
    """Return SynSense's gesture network for 2x128x128."""
    layers = {"conv1": conv(16, 2, stride=2), "iaf1": IAF}
    for number, channels in enumerate((16, 32, 32, 64, 64), start=2):
        layers |= {f"conv{number}": conv(channels, padding=1), f"iaf{number}": IAF}
        layers |= {f"pool{number}": {"type": "avg_pool", "kernel_size": 2}}
    layers |= {"conv7": conv(256, 2), "drop": {"type": "dropout"}, "iaf7": IAF, "flatten": {"type": "flatten"}}
    for number, features in ((8, 128), (9, 11)):
        layers |= {f"fc{number}": {"type": "linear", "out_features": features, "bias": False}, f"iaf{number}": IAF}
    return layers


def misfit(layers: dict[str, Any], in_shape: tuple[int, ...] = (2, 32, 32)) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        fit(build_network(layers, in_shape=in_shape, dt=1.0).network)
    return caught.value


def test_synsenses_own_network_gets_a_core_for_each_layer() -> None:
    cores = fit(build_network(synsense(), in_shape=(2, 128, 128), dt=10.0).network)
    assert [core.layer for core in cores] == [*(f"conv{n}" for n in range(1, 8)), "fc8", "fc9"]
    assert sorted(core.core for core in cores) == [*range(9)]
    assert all(CORES[core.core].holds(core.need) for core in cores)
    assert cores[0].need == Memory(2 * 4 * 16, 16 * 64 * 64, 0)
    assert cores[6].need == Memory(64 * 4 * 256, 256, 0)


def test_memory_is_counted_in_powers_of_two_as_sinabs_does() -> None:
    layers = {"conv": conv(30, 3, bias=True), "iaf": IAF}
    (core,) = fit(build_network(layers, in_shape=(2, 20, 20), dt=1.0).network)
    assert core.need == Memory(2 * 16 * 32, 30 * 32 * 32, 30)


def test_a_network_with_max_pooling_is_refused_by_name() -> None:
    layers = {"conv": conv(4), "iaf": IAF, "pool": {"type": "max_pool", "kernel_size": 2}}
    assert_error_has(misfit(layers), "speck", "pool", "max_pool", "sum_pool")


@pytest.mark.parametrize(
    ("changed", "facts"),
    [
        ({"conv": conv(4, 3, stride=3)}, ("conv", "stride 3", "1, 2, 4, 8")),
        ({"conv": conv(4, 3, padding=8)}, ("conv", "padding 8", 7)),
        ({"conv": conv(4, 17)}, ("conv", "17x17", "16x16")),
        ({"conv": conv(4, [3, 1])}, ("conv", "3x1", "square")),
        ({"conv": conv(4, 3, dilation=2)}, ("conv", "dilation 2")),
        ({"conv": conv(4, 3, groups=2)}, ("conv", "groups 2")),
        ({"conv": conv(1025, 1, stride=8)}, ("conv", "1,025", "1,024")),
        ({"iaf": {"type": "lif"}}, ("iaf", "LIF")),
        ({"iaf": {"type": "iaf", "recurrent": True}}, ("iaf:", "recurrent: false")),
        ({"last": {"type": "identity"}}, ("fc", "type: iaf")),
        ({"iaf": {"type": "iaf", "reset": "none"}}, ("iaf", "reset none")),
        ({"pool": {"type": "sum_pool", "kernel_size": 8}}, ("iaf", "8x8", "1, 2 or 4")),
        ({"pool": {"type": "sum_pool", "kernel_size": 2, "stride": 1}}, ("pool", "stride 1")),
    ],
)
def test_what_a_core_cannot_do_is_named(changed: dict[str, Any], facts: tuple[Any, ...]) -> None:
    layers = {
        "conv": conv(4),
        "iaf": IAF,
        "pool": {"type": "sum_pool", "kernel_size": 2},
        "flatten": {"type": "flatten"},
    }
    layers |= {"fc": {"type": "linear", "out_features": 3}, "last": IAF, **changed}
    assert_error_has(misfit(layers), "speck", *facts)


def test_an_input_larger_than_the_camera_is_refused() -> None:
    assert_error_has(misfit({"conv": conv(1, 3, stride=4), "iaf": IAF}, (1, 130, 130)), "speck", "130x130", "128x128")


def test_a_layer_for_which_no_core_has_memory_is_named_with_its_need() -> None:
    layers = {"conv": conv(32, padding=1), "iaf": IAF}
    assert_error_has(misfit(layers, (16, 64, 64)), "speck", "conv", "131,072")


def test_layers_that_crowd_the_same_cores_are_named() -> None:
    layers: dict[str, Any] = {}
    for number in range(4):
        layers |= {f"conv{number}": conv(16, padding=1), f"iaf{number}": IAF}
    assert_error_has(misfit(layers, (2, 64, 64)), "speck", "conv0, conv1, conv2, conv3", "4 layers", "3 cores")


def test_three_destinations_are_too_many() -> None:
    branch = {"conv": conv(2, 1), "iaf": IAF}
    layers = {
        "conv": conv(4),
        "iaf": IAF,
        "split": {"type": "parallel", "join": "add", "branches": dict.fromkeys("abc", branch)},
    }
    assert_error_has(misfit(layers), "speck", "iaf", "3 layers", 2)


def test_the_assignment_moves_layers_to_make_place() -> None:
    wide, deep = Memory(1, 4, 0), Memory(4, 1, 0)
    cores = [Memory(4, 4, 0), Memory(1, 4, 0)]
    assert assign([wide, deep], cores) == [1, 0]
    assert assign([deep, deep], cores) is None


def test_the_memory_of_the_cores_is_that_of_sinabs() -> None:
    spec = find_spec("sinabs")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("Sinabs is not installed")
    # Read, not imported: the module imports the chip's driver.
    source = Path(spec.submodule_search_locations[0], "backend", "dynapcnn", "chips", "dynapcnn.py")
    found: dict[str, list[int]] = {}
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.List):
            products = [each for each in node.value.elts if isinstance(each, ast.BinOp)]
            sizes = [ast.literal_eval(each.left) * ast.literal_eval(each.right) for each in products]
            found[node.targets[0].id] = sizes
    assert found["weight_memory_size"] == [core.kernel for core in CORES]
    assert found["neurons_memory_size"] == [core.neurons for core in CORES]
