"""Whatever a step reads, its result is that of the plain loop: it is fused, or it runs in the plain loop.

Axes: T steps, B samples, n neurons.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import situations_of_readings  # noqa: F401 (registers its situations)
import situations_of_values  # noqa: F401
import torch
from situations import FUSED, PLAIN_LOOP, SITUATIONS, State, Step

from snnlab.kernels import function
from snnlab.kernels.reference import unroll


def run(step: Step, dtype: torch.dtype) -> tuple[list[Any], str]:
    """Return output and state of a step by `auto` and by the plain loop, and how `auto` ran."""
    x = torch.randn(5, 2, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 40.0
    x[0, 0, :4] = torch.tensor([0.0, -0.0, 70.0, 1.0])
    x = x.to(dtype)
    owner = getattr(step, "__self__", step)
    prepare = getattr(owner, "prepare", lambda: None)
    k = getattr(step, "k", 0.3)
    found, how = [], ""
    for backend in ("auto", "plain"):
        state = getattr(step, "state", State)(torch.full((2, 7), 0.7, dtype=dtype))
        prepare()
        if backend == "plain":
            y, after = unroll(step, x.clone(), state, k, None)
        else:
            how = PLAIN_LOOP if isinstance(function.kernel_for(step, x, state, k), str) else FUSED
            prepare()
            with function._kernels_in_mode("python"), np.errstate(all="ignore"):
                output = function.run(step, x.clone(), state, k)
            y, after = output.y, output.state
        found += [y, *after]
    return found, how


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_step_gives_what_the_plain_loop_gives(name: str, caplog: pytest.LogCaptureFixture) -> None:
    make, runs = SITUATIONS[name]
    with caplog.at_level(logging.CRITICAL):
        for at, step in enumerate(make()):
            for dtype in (torch.float32, torch.float64):
                try:
                    found, how = run(step, dtype)
                except (AttributeError, TypeError, RuntimeError) as error:
                    x = torch.ones(2, 2, 7, dtype=dtype)
                    # Torch itself refuses the step: then the plain loop does too.
                    with pytest.raises(type(error)):
                        unroll(step, x, State(x[0]), getattr(step, "k", 0.3), None)
                    continue
                half = len(found) // 2
                for one, other in zip(found[:half], found[half:], strict=True):
                    assert one.dtype == other.dtype, (at, dtype, how)
                    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True, msg=f"{at} {dtype} {how}")
                assert runs in (None, how), (at, dtype)
