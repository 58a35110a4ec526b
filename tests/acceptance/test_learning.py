"""What docs/learning.md and `snnlab doctor --gradient --help` promise: rules train, are refused, and are compared."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from snnlab import train

from ..marks import mostly_long
from ..refusals import assert_error_has
from .conftest import FAST, Outcome

ROOT = Path(__file__).parents[2]
BARE = (*FAST, "logger=none", "test=false")
RULES = ("sltt", "ottt", "eprop", "d_rtrl", "ostl", "fptt", "stdp")
RULE = '''
"""A rule of a user."""

import torch

from snnlab.nn.learning import RULES, ForwardRule, detached


@RULES.register("decayed")
class Decayed(ForwardRule):
    """The gradient of each step alone, and less of it at each later batch, which it counts.

    Args:
        rate: How much less.
    """

    rate: float = 0.5
    steps_at_once: int = 1

    def bind(self, context):
        super().bind(context)
        self.register_buffer("batches", torch.zeros(()))

    def begin(self, network, task):
        self.batches += 1
        return None

    def step(self, network, state, piece, gradients):
        y, state = network(piece.x, state, lengths=piece.lengths, counts=piece.counts)
        gradients.add_derivatives(piece.loss(y))
        return detached(state)

    def end(self, network, state, gradients):
        for gradient in gradients.found.values():
            gradient *= self.rate ** (self.batches - 1)
'''


@pytest.mark.parametrize("rule", mostly_long(["ottt", *(one for one in RULES if one != "ottt")], 1, 3))
def test_each_rule_trains(rule: str, tmp_path: Path, digits_store: str) -> None:
    result = train(*BARE, digits_store, f"learning={rule}", "loss=tet", f"output_dir={tmp_path}")
    assert math.isfinite(result.metrics["val/loss"])


def test_weights_of_stdp_that_are_not_finite_name_the_epoch_and_the_settings_of_stdp(
    digits_store: str, snnlab: Callable[..., Outcome]
) -> None:
    wild = ("learning=stdp", "learning.eta_plus=1e30", "learning.dependence=linear", "learning.clip=false")
    done = snnlab("train", *BARE, digits_store, *wild)
    assert done.status == 2
    assert_error_has(done.error, "fc1.weight", "epoch", 1, "learning.eta_plus")


def test_a_rule_is_refused_before_anything_is_written_with_the_rules_that_would_do(
    workplace: Path, snnlab: Callable[..., Outcome]
) -> None:
    for given, place, facts in (
        (("learning=eprop", "loss=tet"), "model.layers.conv1", ("1.7 million", "ottt")),
        (("learning=ottt", "loss=tet", "neuron=cuba_lif"), "model.layers.lif1", ("2 states", "sltt")),
        (("learning=sltt",), "loss", ("cross_entropy", "bptt")),
        (("learning=sltt", "loss=tet", "tbptt_steps=4"), "tbptt_steps", ("sltt",)),
        (
            ("learning=fptt", "loss=tet", "trainer.accumulate_grad_batches=2"),
            "trainer.accumulate_grad_batches",
            ("fptt",),
        ),
    ):
        done = snnlab("train", *given)
        assert done.status == 2
        assert_error_has(done.error, place, *facts)
    assert not (workplace / "outputs").exists()


def table(text: str) -> dict[str, list[float]]:
    """Return cosine, norm and share of equal signs by layer."""
    rows = re.findall(r"^ *(\w+) +[\d,]+ +([\d.]+) +([\d.]+) +([\d.]+)% *$", text, re.M)
    return {name: [float(number) for number in numbers] for name, *numbers in rows}


def test_the_doctor_says_that_rules_with_traces_are_exact_without_memory_behind_and_sltt_is_not(
    workplace: Path, snnlab: Callable[..., Outcome], digits_store: str
) -> None:
    given = ("model=mlp_lif", "~model.layers.readout", "loss=tet", "data.num_bins=8", digits_store, "data.batch_size=8")
    found = {rule: table(snnlab("doctor", "--gradient", *given, f"learning={rule}").out) for rule in ("ottt", "sltt")}
    assert found["ottt"] == {name: [1.0, 1.0, 100.0] for name in ("fc1", "out", "all")}
    assert found["sltt"]["out"] == [1.0, 1.0, 100.0]
    assert found["sltt"]["fc1"][0] < 0.999
    done = snnlab("doctor", "--gradient", *given, "learning=stdp")
    assert done.status == 2
    assert_error_has(done.error, "learning", "stdp")
    assert not (workplace / "outputs").exists()


@pytest.mark.long
def test_a_rule_of_ten_lines_trains_resumes_and_is_compared(
    workplace: Path, snnlab: Callable[..., Outcome], digits_store: str
) -> None:
    (workplace / "my_decayed_rule.py").write_text(RULE)
    own = ("plugins=[my_decayed_rule]", "learning={type: decayed, rate: 0.25}", "loss=tet", digits_store)
    folder = Path(snnlab("train", *FAST, *own).out.splitlines()[-1])
    config = (folder / "config.yaml").read_text()
    assert re.search(r"^learning:\n  type: decayed\n  rate: 0.25\n", config, re.M)
    done = snnlab("train", f"resume={folder}", "trainer.max_epochs=2", "plugins=[my_decayed_rule]")
    assert done.status == 0, done.err
    assert json.loads((folder / "result.json").read_text())["status"] == "completed"
    compared = table(snnlab("doctor", "--gradient", *FAST[:2], *own).out)
    assert all(0 < cosine <= 1 for cosine, *_ in compared.values())
    misspelt = snnlab("train", *FAST, *own[:1], "learning={type: decayed, rates: 1}", "loss=tet")
    assert_error_has(misspelt.error, "learning.rates", "rate")


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", ["learning=ottt loss=tet model=conv_lif data=nmnist", "learning=eprop experiment=ecg_brf"]
)
def test_the_commands_of_the_page_train_on_real_recordings(first: str, real_data: Path, tmp_path: Path) -> None:
    assert f"snnlab train {first} data.root=FOLDER\n" in (ROOT / "docs" / "learning.md").read_text()
    few = ("trainer.max_epochs=1", "+trainer.limit_train_batches=2", "+trainer.limit_val_batches=1", "test=false")
    own = (f"data.root={real_data}", "data.download=false", "trainer.accelerator=cpu", f"output_dir={tmp_path}")
    assert math.isfinite(train(*first.split(), *own, *few, "logger=none").metrics["val/loss"])
