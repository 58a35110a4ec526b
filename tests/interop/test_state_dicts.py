"""State dicts of other projects: names, shapes and values are checked, and nothing in a file is executed."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError, DataError
from snnlab.interop.state_dicts import load_state_dict, loaded_text, read_state_dict
from snnlab.nn import build_network
from snnlab.nn.network import Network

from ..refusals import assert_raises, assert_text_has

LAYERS: dict[str, dict[str, Any]] = {
    "fc": {"type": "linear", "out_features": 4},
    "lif": {"type": "lif", "beta": 0.9, "v_threshold": 1.5},
    "out": {"type": "linear", "out_features": 2, "bias": False},
}
RENAME = {"layers.0": "fc", "head": "out", "layers.1": {"beta": "lif.beta", "threshold": "lif.v_threshold", "mode": 0}}


@pytest.fixture
def network() -> Network:
    return build_network(LAYERS, in_shape=(3,), dt=1.0).network


@pytest.fixture
def weights() -> dict[str, Any]:
    return {
        "layers.0.weight": torch.arange(12.0).reshape(4, 3),
        "layers.0.bias": torch.ones(4),
        "layers.1.beta": torch.tensor(0.9),
        "layers.1.threshold": torch.tensor([1.5]),
        "layers.1.mode": torch.tensor(0),
        "head.weight": torch.full((2, 4), 0.5),
    }


def saved(tmp_path: Path, content: Any, **options: Any) -> Path:
    path = tmp_path / "foreign.pt"
    torch.save(content, path, **options)
    return path


def repacked(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """Write an archive again, with the parts changed."""
    with zipfile.ZipFile(path) as archive:
        parts = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for info, content in parts:
            archive.writestr(info.filename, change(info.filename, content))
    return path


def test_all_weights_are_replaced_by_name(network: Network, weights: dict[str, Any], tmp_path: Path) -> None:
    loaded = load_state_dict(network, saved(tmp_path, weights), RENAME)
    own = network.state_dict()
    assert torch.equal(own["fc.weight"], weights["layers.0.weight"])
    assert torch.equal(own["fc.bias"], weights["layers.0.bias"])
    assert torch.equal(own["out.weight"], weights["head.weight"])
    assert (loaded.weights, loaded.values) == (3, 12 + 4 + 8)
    assert loaded.checked == ("layers.1.beta", "layers.1.threshold", "layers.1.mode")
    assert_text_has(loaded_text(loaded, "a.pt", 64 * "f"), 3, 24, "a.pt", "ffffffffffff", 3)


def test_names_with_dots_and_nested_names_are_the_same_table(
    network: Network, weights: dict[str, Any], tmp_path: Path
) -> None:
    table = {"layers": {"0": {"weight": "fc.weight"}, "0.bias": "fc.bias", "1": None}, "head": "out"}
    loaded = load_state_dict(network, saved(tmp_path, weights), table)
    assert torch.equal(network.state_dict()["fc.bias"], torch.ones(4))
    assert loaded.unused == ("layers.1.beta", "layers.1.threshold", "layers.1.mode")


def test_equal_names_need_no_table(network: Network, tmp_path: Path) -> None:
    weights = {name: torch.zeros_like(value) for name, value in network.state_dict().items()}
    load_state_dict(network, saved(tmp_path, weights))
    assert all(not value.any() for value in network.state_dict().values())


def test_a_first_part_of_all_names_is_dropped(network: Network, tmp_path: Path) -> None:
    weights = {f"module.{name}": torch.zeros_like(value) for name, value in network.state_dict().items()}
    assert load_state_dict(network, saved(tmp_path, weights), {"module": ""}).weights == 3


def test_the_only_state_dict_of_a_checkpoint_is_found(weights: dict[str, Any], tmp_path: Path) -> None:
    found = read_state_dict(saved(tmp_path, {"epoch": 3, "net": weights, "optimizer": {"state": {0: {}}}}))
    assert found.keys() == weights.keys()
    with assert_raises(DataError, "foreign.pt", "net", "average"):
        read_state_dict(saved(tmp_path, {"net": weights, "average": weights}))


def test_other_precisions_are_converted_and_named(network: Network, weights: dict[str, Any], tmp_path: Path) -> None:
    weights["head.weight"] = weights["head.weight"].double()
    loaded = load_state_dict(network, saved(tmp_path, weights), RENAME)
    assert loaded.cast == {"head.weight": "float64"}
    assert network.state_dict()["out.weight"].dtype == torch.float32


RECURRENT: dict[str, dict[str, Any]] = {
    "fc": {"type": "linear", "out_features": 3, "bias": False},
    "alif": {"type": "alif", "tau_mem": "20 steps", "learn": {"tau_mem": "neuron"}, "recurrent": True},
    "out": {"type": "li", "tau_mem": 20.0, "per_neuron": ["tau_mem"]},
}
JOINED = {
    "hidden": {"weight": ["fc.weight", "alif.feedback.weight"], "mask": 1, "tau": "alif.neuron.tau_mem"},
    "tau": "out.tau_mem",
}


def joined() -> dict[str, Any]:
    return {
        "hidden.weight": torch.arange(15.0).reshape(3, 5),
        "hidden.mask": torch.ones(3, 5),
        "hidden.tau": torch.tensor([2.0, 3.0, 4.0]),
        "tau": torch.tensor([5.0, 6.0, 7.0]),
    }


def test_joined_weights_are_split_and_time_constants_are_stored_as_the_network_learns_them(tmp_path: Path) -> None:
    network = build_network(RECURRENT, in_shape=(2,), dt=1.0).network
    loaded = load_state_dict(network, saved(tmp_path, joined()), JOINED)
    own = network.state_dict()
    assert own["fc.weight"].tolist() == [[0, 1], [5, 6], [10, 11]]
    assert own["alif.feedback.weight"].tolist() == [[2, 3, 4], [7, 8, 9], [12, 13, 14]]
    assert own["alif.neuron.learned.tau_mem"].exp().tolist() == pytest.approx([2.0, 3.0, 4.0])
    assert own["out.tau_mem_values"].tolist() == [5.0, 6.0, 7.0]
    assert loaded.checked == ("hidden.mask",)


@pytest.mark.parametrize(
    ("change", "table", "facts"),
    [
        ({"hidden.weight": torch.ones(3, 6)}, JOINED, ["foreign.pt", "hidden.weight", "[3, 6]", 5]),
        ({"hidden.weight": torch.ones(15)}, JOINED, ["foreign.pt", "hidden.weight", "[15]"]),
        ({"hidden.weight": torch.ones(4, 5)}, JOINED, ["foreign.pt", "hidden.weight", "[4, 2]", "[3, 2]"]),
        ({"hidden.mask": torch.tensor([[1.0, 0.0]])}, JOINED, ["foreign.pt", "hidden.mask", "0.0", 1]),
        ({"hidden.mask": torch.ones(1).expand(10**6, 10**6)}, JOINED, ["foreign.pt", "hidden.mask", f"{10**12:,}"]),
        ({"hidden.tau": torch.tensor([2.0, -3.0, 4.0])}, JOINED, ["foreign.pt", "hidden.tau", -3]),
        ({"hidden.tau": torch.tensor([2.0, float("nan"), 4.0])}, JOINED, ["foreign.pt", "hidden.tau", "nan"]),
        ({"tau": torch.ones(2)}, JOINED, ["foreign.pt", "tau", "[2]", "[3]"]),
        ({}, {**JOINED, "hidden.weight": ["fc.weights"]}, ["rename.hidden.weight", "fc.weights", "fc.weight"]),
        ({}, {**JOINED, "hidden.weights": ["fc.weight"]}, ["rename.hidden.weights", "hidden.weight"]),
    ],
)
def test_joined_weights_that_do_not_fit_are_named_in_a_line(
    tmp_path: Path, change: dict[str, Tensor], table: dict[str, Any], facts: list[object]
) -> None:
    network = build_network(RECURRENT, in_shape=(2,), dt=1.0).network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with assert_raises((DataError, ConfigError), *facts) as caught:
        load_state_dict(network, saved(tmp_path, {**joined(), **change}), table)
    assert len(str(caught.value).splitlines()) == 1
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def with_(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda weights: {**weights, **{name.replace("__", "."): value for name, value in changes.items()}}


MISFITS: list[tuple[str, Callable[[dict[str, Any]], dict[str, Any]], list[object]]] = [
    ("shape", with_(head__weight=torch.ones(2, 5)), ["head.weight", "[2, 5]", "[2, 4]"]),
    ("values that are one", with_(head__weight=torch.ones(1).expand(2, 10**12)), ["head.weight", "[2, 1000000000000]"]),
    ("nan", with_(layers__0__bias=torch.tensor([1.0, float("nan"), 0.0, 0.0])), ["layers.0.bias", "NaN"]),
    ("infinite", with_(layers__0__bias=torch.tensor([1.0, float("inf"), 0.0, 0.0])), ["layers.0.bias"]),
    ("beyond float32", with_(head__weight=torch.full((2, 4), 1e300, dtype=torch.float64)), ["head.weight", "float32"]),
    ("whole numbers", with_(head__weight=torch.ones(2, 4, dtype=torch.int64)), ["head.weight", "int64"]),
    ("sparse", with_(head__weight=torch.ones(2, 4).to_sparse()), []),
    ("extra", with_(more=torch.ones(2)), ["more", "null"]),
    ("constant", with_(layers__1__beta=torch.tensor(0.8)), ["layers.1.beta", "0.8", "0.9", "model.layers.lif.beta"]),
    ("mode", with_(layers__1__mode=torch.tensor(1)), ["layers.1.mode", 1, 0]),
    ("several", with_(layers__1__beta=torch.full((4,), 0.9)), ["layers.1.beta", 4]),
    ("control characters", with_(**{"a\x1b[2J": torch.ones(2)}), ["\\x1b"]),
    ("twice", with_(out__weight=torch.ones(2, 4)), ["head.weight", "out.weight"]),
]


@pytest.mark.parametrize(("change", "facts"), [row[1:] for row in MISFITS], ids=[row[0] for row in MISFITS])
def test_what_does_not_fit_is_named_in_a_line_and_nothing_is_loaded(
    network: Network,
    weights: dict[str, Any],
    tmp_path: Path,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    facts: list[object],
) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    path = saved(tmp_path, change(weights))
    with assert_raises(DataError, "foreign.pt", *facts) as caught:
        load_state_dict(network, path, RENAME)
    assert len(str(caught.value).splitlines()) == 1
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_missing_tensors_are_listed_with_the_names_that_are_left(
    network: Network, weights: dict[str, Any], tmp_path: Path
) -> None:
    with assert_raises(DataError, "foreign.pt", "fc.weight", "fc.bias", 2, 3, "layers.0.weight"):
        load_state_dict(network, saved(tmp_path, weights), {"head": "out", "layers.1": None})


def test_a_name_of_the_table_that_is_not_in_the_file_is_refused(
    network: Network, weights: dict[str, Any], tmp_path: Path
) -> None:
    with assert_raises(ConfigError, "rename.layer.0"):
        load_state_dict(network, saved(tmp_path, weights), {**RENAME, "layer.0": "fc"})
    with assert_raises(ConfigError, "rename.head"):
        load_state_dict(network, saved(tmp_path, weights), {**RENAME, "head": ["out"]})


class Code:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "code", [Code(os.mkdir, "ran"), Code(bytearray, 10**13), Code(eval, "1"), Code(torch.zeros, 10**12)]
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_pickles_with_code_are_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: Code, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path, {"weight": torch.ones(2), "code": code}, pickle_protocol=protocol)
    with assert_raises(DataError, "foreign.pt", "nothing" if protocol == 2 else "protocol") as caught:
        read_state_dict(path)
    assert str(caught.value).count("foreign.pt") == 1
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "ran").exists()


def test_a_pickle_alone_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "foreign.pt"
    path.write_bytes(pickle.dumps({"weight": Code(os.mkdir, "ran")}))
    with assert_raises(DataError, "foreign.pt"):
        read_state_dict(path)
    assert not (tmp_path / "ran").exists()


# torch itself reads as many bytes as the pickle says, beyond the end of the record.
def test_a_tensor_that_is_larger_than_its_record_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, {"weight": torch.arange(250.0)})

    def enlarge(name: str, content: bytes) -> bytes:
        if not name.endswith("data.pkl"):
            return content
        assert content.count(b"K\xfa") == 2  # the number of values, and the size
        return content.replace(b"K\xfa", b"\x8a\x06\x00\x00\x00\x00\x00\x01")

    with assert_raises(DataError, "foreign.pt"):
        read_state_dict(repacked(path, enlarge))


# torch itself reads on, into the parts of the archive that follow.
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("change", [lambda part: part[:256], lambda part: part + part], ids=["short", "long"])
def test_a_record_of_another_length_than_its_tensor_is_refused(
    tmp_path: Path, number: int, change: Callable[[bytes], bytes]
) -> None:
    path = saved(tmp_path, {"first": torch.arange(128.0), "last": torch.arange(128.0) + 1})
    repacked(path, lambda name, part: change(part) if name.endswith(f"data/{number}") else part)
    with assert_raises(DataError, "foreign.pt"):
        read_state_dict(path)


def test_packed_parts_are_refused(tmp_path: Path) -> None:
    path = repacked(saved(tmp_path, {"weight": torch.zeros(10**6)}), lambda _, part: part, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**5
    with assert_raises(DataError, "foreign.pt", "packed"):
        read_state_dict(path)


def damaged(content: bytes) -> bytes:
    place = content.index(torch.arange(100.0).numpy().tobytes())
    return content[:place] + b"\xff" + content[place + 1 :]


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "text": lambda content: b"weights",
    "a changed byte": damaged,
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_broken_files_are_named_in_a_line(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = saved(tmp_path, {"weight": torch.arange(100.0)})
    path.write_bytes(change(path.read_bytes()))
    with assert_raises(DataError, "foreign.pt") as caught:
        read_state_dict(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [[torch.ones(2)], {}, {"a": 1}, {1: torch.ones(2)}, torch.ones(2)])
def test_files_without_named_tensors_are_refused(tmp_path: Path, content: Any) -> None:
    with assert_raises(DataError, "foreign.pt"):
        read_state_dict(saved(tmp_path, content))


def test_a_missing_file_a_folder_and_other_archives_are_refused(tmp_path: Path) -> None:
    with assert_raises(DataError, "absent.pt"):
        read_state_dict(tmp_path / "absent.pt")
    with assert_raises(DataError, str(tmp_path)):
        read_state_dict(tmp_path)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "text")
    with assert_raises(DataError, "other.zip", "data.pkl"):
        read_state_dict(tmp_path / "other.zip")


def test_a_module_saved_whole_is_not_loaded(tmp_path: Path) -> None:
    with assert_raises(DataError, "foreign.pt", "torch.nn.modules.linear.Linear"):
        read_state_dict(saved(tmp_path, torch.nn.Linear(2, 2)))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_scripted_modules_are_not_loaded(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), buffer)
    (tmp_path / "foreign.pt").write_bytes(buffer.getvalue())
    with assert_raises(DataError, "foreign.pt"):
        read_state_dict(tmp_path / "foreign.pt")


def test_parameters_are_tensors(tmp_path: Path) -> None:
    found = read_state_dict(saved(tmp_path, {"weight": torch.nn.Parameter(torch.ones(2))}))
    value: Tensor = found["weight"]
    assert torch.equal(value, torch.ones(2))


def test_mutated_files_are_read_or_refused_in_a_line(tmp_path: Path) -> None:
    path = saved(tmp_path, {"weight": torch.ones(4, 3), "bias": torch.nn.Parameter(torch.ones(4))})
    whole, random = path.read_bytes(), Random(0)

    def mutated(content: bytes) -> bytes:
        changed = bytearray(content)
        for _ in range(random.randint(1, 4)):
            changed[random.randrange(len(changed))] = random.randrange(256)
        return bytes(changed)

    messages = []
    for number in range(120):
        path.write_bytes(whole if number % 3 else mutated(whole))
        if number % 3:  # with a checksum that is right
            repacked(path, lambda name, part: mutated(part) if name.endswith("data.pkl") else part)
        try:
            read_state_dict(path)
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 80
    assert all(len(message.splitlines()) == 1 for message in messages)


def test_names_that_differ_in_case_are_not_two_files(tmp_path: Path) -> None:
    """Torch finds a part of the archive by its name in any case."""
    path = saved(tmp_path, {"weight": torch.ones(2)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("foreign/DATA.PKL", b"cos\nmkdir\n.")
    with assert_raises(DataError, "foreign.pt", "data.pkl"):
        read_state_dict(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    os.mkfifo(path)
    with assert_raises(DataError, path, "regular"):
        read_state_dict(path)


def test_a_file_of_an_old_torch_is_named_with_the_line_that_saves_it_again(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save({"fc.weight": torch.ones(2, 2)}, path, _use_new_zipfile_serialization=False)
    with assert_raises(DataError, path, "1.6", "torch.save(torch.load(FILE"):
        read_state_dict(path)
