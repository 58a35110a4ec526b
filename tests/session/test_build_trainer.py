"""What a trainer is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnlab.config.compose import compose_once
from snnlab.errors import ConfigError
from snnlab.session.build_trainer import make_trainer

from ..refusals import assert_raises


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "transformer-engine"])
def test_a_precision_that_rounds_membranes_is_refused_with_those_that_do_not(precision: str) -> None:
    with assert_raises(ConfigError, "trainer.precision", 16, precision):
        compose_once([f"trainer.precision={precision}"], None)


@pytest.mark.parametrize("precision", ["16-mixed", "16"])
def test_half_precision_on_a_cpu_is_refused_with_what_a_cpu_computes_in(tmp_path: Path, precision: str) -> None:
    experiment, _ = compose_once([f"trainer.precision={precision}", "trainer.accelerator=cpu"], None)
    with assert_raises(ConfigError, "trainer.precision", 16):
        make_trainer(experiment, tmp_path, [])
