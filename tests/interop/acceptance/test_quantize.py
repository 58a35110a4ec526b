"""`snnlab quantize` and `quantize=`: what docs/quantize.md and `--help` promise."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlab import load
from snnlab.nn.integer_targets import table_lines
from snnlab.nn.neurons.whole_neuron import WholeNeuron
from snnlab.zoo import run_path

from ...refusals import assert_error_has, assert_text_has
from .conftest import WHOLE, Outcome

Snnlab = Callable[..., Outcome]
ROOT = Path(__file__).parents[3]


def test_the_table_of_the_page_is_that_of_the_targets() -> None:
    assert "\n".join(table_lines()) in (ROOT / "docs" / "quantize.md").read_text()


def test_a_run_becomes_whole_numbers_and_every_command_takes_its_folder(
    digits_run: Path, digit: Path, tmp_path: Path, snnlab: Snnlab
) -> None:
    out = tmp_path / "whole"
    done = snnlab("quantize", str(digits_run), "quantize=int8", "--out", str(out), "--recordings", "60")
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1] == str(out)
    assert_text_has(done.out, "60 training", "60 validation", "none", "lif1", "readout", "all", "loses most")
    record = json.loads((out / "result.json").read_text())["provenance"]["quantized"]
    assert abs(record["real"]["right"] - record["whole"]["right"]) <= 6
    assert list(record["alone"]) == ["lif1", "readout"]
    opened = load(out)
    neurons = [module for module in opened.network.modules() if isinstance(module, WholeNeuron)]
    assert len(neurons) == 2
    layer: Any = opened.network.get_submodule("fc1")
    weight = layer.weight / 2**6
    assert torch.equal(weight, weight.detach().round())
    assert 100 < weight.detach().abs().max() <= 127
    for name in ("split.json", "trained_on.npy"):
        assert (out / name).read_bytes() == (digits_run / name).read_bytes()
    evaluated = snnlab("evaluate", str(out))
    assert evaluated.status == 0, evaluated.err
    assert_text_has(evaluated.out, "accuracy", "MACs", "8-bit", "ACs", "8-bit", "24 bits")
    for words in (("predict", str(out), str(digit)), ("show", str(out), "--equations")):
        done = snnlab(*words)
        assert done.status == 0, (words, done.err)
    again = snnlab("quantize", str(out), "quantize=int4", "--out", str(tmp_path / "again"))
    assert again.status == 2
    assert_error_has(again.error, out)


@pytest.mark.long
def test_the_stream_has_the_bits_of_the_whole_numbers(digits_run: Path, tmp_path: Path, snnlab: Snnlab) -> None:
    out = tmp_path / "whole"
    assert snnlab("quantize", str(digits_run), "quantize=int8", "--out", str(out), "--recordings", "20").status == 0
    done = snnlab("doctor", "--stream", str(out))
    assert done.status == 0, done.err + done.out


@pytest.mark.slow  # packs 70,000 digits
def test_grey_values_become_whole_numbers_and_a_network_needs_no_readout(
    real_data: Path, tmp_path: Path, snnlab: Snnlab
) -> None:
    if not (real_data / "smnist").is_dir():
        pytest.skip(f"no smnist in {real_data}")
    out, given = tmp_path / "whole", (f"data.root={real_data}", "data.download=false")
    done = snnlab("quantize", "zoo:smnist", "quantize=int8", *given, "--recordings", "40", "--out", str(out))
    assert done.status == 0, done.err
    record = json.loads((out / "result.json").read_text())["provenance"]["quantized"]
    assert abs(record["real"]["right"] - record["whole"]["right"]) <= 1
    assert abs(record["real"]["loss"] - record["whole"]["loss"]) < 0.05
    real, whole = (load(run, overrides=given) for run in (run_path("zoo:smnist"), out))
    first: Any = whole.network.get_submodule("fc1")
    assert 100 < first.weight.abs().max() <= 127  # of one grey level, without a shift
    x = torch.randint(0, 256, (784, 8, 1, 1)) * (torch.rand(784, 8, 1, 1) < 0.2)
    with torch.no_grad():
        expected, found = real.network(x / 255)[0], whole.network(x.float())[0]
    assert found.shape == expected.shape
    assert (found - expected)[-1].abs().mean() < 0.25 * expected[-1].abs().mean()


def test_a_layer_that_overflows_is_named_with_its_recording(digits_run: Path, tmp_path: Path, snnlab: Snnlab) -> None:
    given = ("quantize=int8", "quantize.state_bits=15", "quantize.weight_shift=4", "--recordings", "30")
    done = snnlab("quantize", str(digits_run), *given, "--out", str(tmp_path / "whole"))
    assert done.status == 0, done.err
    found = re.search(r"overflow: (\w+), in ([\d,]+) recordings, most in recording (\d+): ([\d,]+) sums", done.out)
    assert found is not None, done.out
    run = load(digits_run)
    assert int(found[3]) in run.data.split.val
    assert int(found[2]) <= 30


def test_a_training_starts_from_a_real_run_and_goes_on_from_a_quantized_one(
    digits_run: Path, tmp_path: Path, snnlab: Snnlab
) -> None:
    def trained(run: Path, *given: str) -> Path:
        words = (str(run / "config.yaml"), f"init_from={run}", f"output_dir={tmp_path}", "trainer.max_epochs=1")
        done = snnlab("train", *words, *given)
        assert done.status == 0, done.err
        return Path(done.out.splitlines()[-1])

    first = trained(digits_run, "quantize=int4", "quantize.learn_scales=true")
    before, after = (load(folder).network.state_dict() for folder in (digits_run, first))
    assert "quantize" not in load(digits_run).config
    assert load(first).config["quantize"]["type"] == "int4"
    moved = after["fc1.parametrizations.weight.original"] - before["fc1.weight"]
    assert 0 < moved.abs().mean() < 0.1
    second = trained(first, "optimizer.lr=0")
    again = load(second).network.state_dict()
    assert all(torch.equal(again[name], value) for name, value in after.items())
    result = load(second).metrics
    assert result["test/accuracy"] == load(first).metrics["test/accuracy"]
    assert np.isfinite(result["test/loss"])


MISTAKES: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "no target": ((), "quantize", ("int8", "int4")),
    "an unknown target": (("quantize=int9",), "quantize=int9", ("int8",)),
    "too few bits for a threshold": (
        ("quantize=int8", "quantize.state_bits=8"),
        "model.layers.lif1.v_threshold",
        ("quantize.state_bits", "127"),
    ),
    "an input of real numbers": (
        ("quantize=int8", "data.representation=rate"),
        "data.representation",
        ("data.representation=counts",),
    ),
    "a layer of no name": (("quantize=int8", "quantize.layer_bits={conv9: 4}"), "quantize.layer_bits.conv9", ("fc1",)),
}


def test_a_training_on_real_numbers_is_refused(digits_store: str, snnlab: Snnlab) -> None:
    done = snnlab("train", *WHOLE, digits_store, "quantize=int8", "data.representation=relative")
    assert done.status == 2
    assert_error_has(done.error, "data.representation", "data.representation=counts")


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_refused_by_name_and_nothing_is_written(
    name: str, digits_run: Path, tmp_path: Path, snnlab: Snnlab
) -> None:
    given, place, facts = MISTAKES[name]
    out = tmp_path / "whole"
    done = snnlab("quantize", str(digits_run), *given, "--out", str(out), "--recordings", "8")
    assert done.status == 2
    assert_error_has(done.error, place, *facts)
    assert not out.exists()
