"""Mistakes of beginners: one or two lines on stderr, exit status 2, no traceback, no files written."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from snnlab.training.module import SpikingModule

from ..refusals import assert_error_has
from .conftest import FAST, Outcome

Snnlab = Callable[..., Outcome]


HEAD = "# @package _global_\n"
# An experiment's file, the place that the error names, and its other facts.
FILES = [
    ("neuron: {tau_mem: -3}\n", "mine.yaml:1", "no effect", "# @package _global_"),
    (f"# mine\n{HEAD}neuron: {{tau_mem: -3}}\n", "mine.yaml:1", "# @package _global_"),
    ("# @package: _global_\nneuron: {tau_mem: -3}\n", "mine.yaml:1", "# @package _global_"),
    ("# @package\nneuron: {tau_mem: -3}\n", "mine.yaml:1", "# @package _global_"),
    (f"\ufeff{HEAD}neuron: {{tau_mem: -3}}\n", "mine.yaml:1", "BOM", "# @package _global_"),
    ("# @package elsewhere\nneuron: {tau_mem: -3}\n", "mine.yaml:1", "elsewhere", "# @package _global_"),
    ("# @package experiment\nneuron: {tau_mem: -3}\n", "mine.yaml:1", "no effect"),
    (f"{HEAD}neuron:\n  tau_mem 3\n", "mine.yaml:2", "neuron", "tau_mem 3"),
    (f"{HEAD}neuron: 3\n", "mine.yaml:2", "neuron", 3),
    (f"{HEAD}neuron: [lif]\n", "mine.yaml:2", "neuron", "['lif']"),
    (f"{HEAD}model:\n  layers: [1]\n", "mine.yaml:3", "model.layers"),
    (f"{HEAD}model:\n  layers:\n    new: {{type: relu}}\n", "mine.yaml:4", "model.layers.new", "after"),
    (f"{HEAD}data: nmnist\n", "mine.yaml:2", "data", "nmnist"),
    (f"{HEAD}neuron:\n  tau_mem: !!int abc\n", "mine.yaml:3", "invalid"),
    (f"{HEAD}defaults: conv_lif\n", "mine.yaml:2", "defaults", "conv_lif"),
    (f"{HEAD}defaults: [mine]\n", "mine.yaml", "itself"),
    (f"{HEAD}defaults: [nope]\n", "mine.yaml:2", "experiment=nope", "file"),
    (f"{HEAD}defaults:\n  - /model: mlp_lif\n", "mine.yaml:3", "override /model: mlp_lif"),
    (f"{HEAD}defaults:\n  - override /modell: mlp_lif\n", "mine.yaml:3", "modell", "model"),
    (f"{HEAD}seed: ${{seed}}\n", "seed", "itself", "mine.yaml:2"),
    (f"{HEAD}seed: ${{foo\n", "mine.yaml:2", "seed"),
    (f"{HEAD}neuron.tau_mem: 3\n", "neuron.tau_mem"),
    (f"{HEAD}nothing: 3\n", "nothing", "mine.yaml:2"),
    (f"{HEAD}neuron: &a {{x: *a}}\n", "mine.yaml:2", "inside", "anchor"),
    (f"{HEAD}seed: 1\n".encode("utf-16"), "mine.yaml", "UTF-16", "UTF-8"),
    (f"{HEAD}name: jürgen\n".encode("latin-1"), "mine.yaml:2", "0xfc", "UTF-8"),
    (bytes(range(256)), "mine.yaml:2", "UTF-8"),
    (f"{HEAD}seed: 1\0\n", "mine.yaml", "#x00"),
    (
        f"{HEAD}model:\n  layers:\n    conv1: {{out_channels: 100000000000}}\n",
        "model.layers.conv1",
        "memory",
        "mine.yaml:4",
    ),
]


# Each third file is tried always, the others in the longer half.
@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=pytest.mark.long if number % 3 else (), id=repr(file[0])[:60])
        for number, file in enumerate(FILES)
    ],
)
def test_a_file_that_would_be_ignored_or_cannot_be_read_is_refused(file: tuple, workplace: Path, snnlab: Snnlab):
    text, place, *facts = file
    path = workplace / "own" / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = list(workplace.rglob("*"))
    done = snnlab("show", "--config-dir", "own", "experiment=mine")
    assert (done.status, done.out) == (2, "")
    assert len(done.err.splitlines()) <= 2
    assert_error_has(done.error, place, *facts)
    assert list(workplace.rglob("*")) == before
    checked = snnlab("validate", "own")
    assert checked.status == 2
    assert all(str(fact) in checked.out for fact in (place, *facts)), checked.out
    assert checked.out.startswith("WRONG ")


@pytest.mark.parametrize("head", ["# @package data\n", "# @package: x\n", "\ufeff# @package neuron\n"])
def test_a_groups_file_whose_head_leads_elsewhere_is_refused(head: str, workplace: Path, snnlab: Snnlab):
    path = workplace / "own" / "neuron" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"{head}type: lif\ntau_mem: 5.0\n")
    done = snnlab("show", "--config-dir", "own", "neuron=mine")
    assert done.status == 2
    assert_error_has(done.error, f"{path}:1")
    path.write_text("type: lif\ntau_mem: 5.0\n")
    assert snnlab("show", "--config-dir", "own", "neuron=mine").status == 0


def test_a_truncated_recording_is_named(workplace: Path, snnlab: Snnlab):
    for part, content in (("Train", b"\1\2\3\4\5\6\7"), ("Test", b"\1\2\3\4\5")):
        path = workplace / "NMNIST" / part / "0" / "00001.bin"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    data = ("data=nmnist", "data.root=.", "data.download=false", "data.store_dir=store")
    done = snnlab("train", *FAST, *data)
    assert done.status == 2
    assert_error_has(done.error, "", "NMNIST/Train/0/00001.bin", "byte 5")
    assert "Traceback" not in done.err
    assert not (workplace / "outputs").exists()


def test_a_silent_layer_is_reported_once(workplace: Path, snnlab: Snnlab, digits_store: str):
    done = snnlab("train", *FAST, digits_store, "neuron.v_threshold=1000", "trainer.max_epochs=2")
    assert done.status == 0
    assert len(re.findall(r"^lif1: .* epoch 1\b", done.err, re.MULTILINE)) == 1


def test_a_full_disk_is_reported_and_recorded_if_possible(
    workplace: Path, snnlab: Snnlab, digits_store: str, monkeypatch: pytest.MonkeyPatch
):
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("snnlab.runs.loggers.write_text", full)
    done = snnlab("train", *FAST, digits_store)
    assert done.status == 2
    (result,) = workplace.glob("outputs/*/*/result.json")
    assert_error_has(done.error, result.parent.relative_to(workplace), "incomplete")
    assert "Traceback" not in done.err
    assert json.loads(result.read_text())["status"] == "failed"


def test_the_traceback_is_printed_on_request(snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SNNLAB_DEBUG", "1")
    done = snnlab("train", "seed=one")
    assert done.status == 2
    assert "Traceback" in done.err


def test_too_little_memory_names_the_settings_that_need_less_and_the_run_is_recorded_as_failed(
    workplace: Path, snnlab: Snnlab, digits_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(SpikingModule, "training_step", fail)
    done = snnlab("train", *FAST, digits_store)
    assert done.status == 2
    assert_error_has(done.error, "", "out", 8, "data.batch_size=4", "data.num_bins=2")
    assert "Traceback" not in done.err
    (result,) = workplace.glob("outputs/*/*/result.json")
    assert json.loads(result.read_text())["status"] == "failed"


@pytest.mark.parametrize(
    "words",
    [("report", "RUN", "--out"), ("evaluate", "RUN", "--out"), ("robust", "RUN", "--out"), ("export", "RUN", "--what")],
)
def test_an_empty_value_of_an_option_is_refused(words: tuple[str, ...], workplace: Path, snnlab: Snnlab):
    done = snnlab(*words, "")
    assert done.status == 2
    assert_error_has(done.error, words[-1])
    assert not any(workplace.iterdir())
