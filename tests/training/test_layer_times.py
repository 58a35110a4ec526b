from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from snnlab.runs import profile
from snnlab.runs.profile import FRAMES, LOSS, OPTIMIZER, READING, REST, LayerTimes

FORWARD_S, BACKWARD_S = 0.02, 0.03


class _Slow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        time.sleep(FORWARD_S)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        time.sleep(BACKWARD_S)
        return gradients[0]


class Slow(nn.Module):
    """Is slow in both directions."""

    def forward(self, x: Tensor) -> Tensor:
        return _Slow.apply(x)  # type: ignore[return-value]


@pytest.fixture
def fit(
    make_module: Any, quiet_trainer: Any, batches: list[Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[LayerTimes, Any, Any]]:
    """Return a function that trains 6 batches and measures 4, with a slow layer in place of the dropout."""
    monkeypatch.setattr(profile, "WARM_UP", 2)

    def run(*, epochs: int = 1, slow: bool = True) -> tuple[LayerTimes, Any, Any]:
        module, times = make_module(), LayerTimes()
        if slow:
            module.network.drop = Slow()
        loader: DataLoader[Any] = DataLoader([batches[0]] * 6, batch_size=None)  # type: ignore[arg-type]
        trainer = quiet_trainer(max_epochs=epochs, callbacks=[times])
        trainer.fit(module, loader, loader)
        return times, module, trainer

    return run


def test_a_slow_layer_is_found_in_both_directions(fit: Callable[..., Any]) -> None:
    times, *_ = fit()
    parts = times.parts()
    assert times.steps == 4
    assert times.samples == 16
    assert parts["drop/forward"] > 990 * FORWARD_S
    assert parts["drop/backward"] > 990 * BACKWARD_S
    assert set(sorted(parts, key=parts.__getitem__)[-2:]) == {"drop/forward", "drop/backward"}


def test_every_part_is_there(fit: Callable[..., Any]) -> None:
    times, *_ = fit(slow=False)
    assert times.layers == ["fc", "lif", "drop", "out", "readout"]
    both = {f"{name}/{way}" for name in (*times.layers, LOSS) for way in ("forward", "backward")}
    assert set(times.parts()) == both | {READING, FRAMES, OPTIMIZER, REST}


def test_validation_between_the_epochs_is_no_part_of_a_step(fit: Callable[..., Any]) -> None:
    times, *_ = fit(epochs=2)
    assert times.steps == 4 + 5  # the first step after a validation starts the watch again
    assert sum(times.parts().values()) == pytest.approx(times.wall_ms / times.steps, rel=0.02)


def test_it_changes_no_weight_and_leaves_no_hook(fit: Callable[..., Any], make_module: Any, quiet_trainer: Any) -> None:
    _, module, trainer = fit(slow=False)
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in module.modules())
    assert type(trainer.profiler).__name__ == "PassThroughProfiler"
    plain = make_module()
    loader = trainer.train_dataloader
    quiet_trainer(max_epochs=1).fit(plain, loader, loader)
    for one, other in zip(module.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)
