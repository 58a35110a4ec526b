"""What docs/doctor.md and `snnlab find --help` promise: a proposal, a curve and an override, and no run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from snnlab.config.compose import compose_experiment
from snnlab.session import tuner

from ..refusals import assert_text_has
from .conftest import FAST, Outcome

SMALL = (*(text for text in FAST if "max_epochs" not in text), "threads=1")


def test_a_rate_is_proposed_drawn_and_nothing_else_is_written(
    snnlab: Callable[..., Outcome], workplace: Path, digits_store: str
):
    given = (*SMALL, digits_store, "scheduler=one_cycle", "optimizer=adamw", "weight_averaging={type: ema, decay: 0.9}")
    done = snnlab("find", "lr", "--steps", "40", "--to=0.3", *given)
    assert done.status == 0, done.err
    *said, curve, command = done.out.splitlines()
    assert_text_has(said[0], "lowest")
    picture = Path(curve.partition("the curve: ")[2])
    assert [path for path in workplace.rglob("*") if path.is_file()] == [workplace / picture]
    assert command.startswith("  snnlab train model=mlp_lif ")
    assert " optimizer.lr=0." in command
    assert_text_has(said[1], "proposed", "now 0.002")


def test_groups_with_a_rate_of_their_own_keep_it(workplace: Path, digits_store: str, monkeypatch: pytest.MonkeyPatch):
    groups = "+optimizer.groups={constants: {match: time_constants, lr: 0.5}}"
    learned = "model.layers.readout.learn=[tau_mem]"
    experiment, folder = compose_experiment([*SMALL, digits_store, groups, learned], None)
    seen: list[list[float]] = []

    class Watching(tuner.LRRangeTest):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):  # type: ignore[no-untyped-def]
            seen.append([group["lr"] for group in optimizer.param_groups if group["params"]])

    monkeypatch.setattr(tuner, "LRRangeTest", Watching)
    tuner.find_rate(experiment, folder, 1e-4, 1e-2, 11)
    assert len(seen) == 11
    assert {rates[-1] for rates in seen} == {0.5}
    assert [rates[0] for rates in seen] == pytest.approx([1e-4 * 10 ** (step / 5) for step in range(11)])
