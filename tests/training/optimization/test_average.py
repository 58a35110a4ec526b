from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from snnlab.training.module import Options, SpikingModule
from snnlab.training.optimization.average import Average, AverageRule, Equal, Exponential, averaged_weights

Make = Callable[..., Any]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def stepped(net: nn.Sequential, rule: AverageRule, steps: int = 5) -> tuple[Average, list[dict[str, Tensor]]]:
    """Change the weights at random, and return the average with all weights that there were."""
    average, seen = Average(net, rule), []
    for _ in range(steps):
        net(torch.randn(4, 3))
        with torch.no_grad():
            for p in net.parameters():
                p.add_(torch.randn_like(p))
        average.update(net)
        seen.append({name: value.clone() for name, value in net.state_dict().items()})
    return average, seen


def test_equal_shares_are_the_mean_of_weights_and_of_what_batch_norm_has_seen() -> None:
    net = network()
    average, seen = stepped(net, Equal(every="step"))
    average.exchange(net)
    for name in ("0.weight", "1.bias", "1.running_mean", "1.running_var"):
        torch.testing.assert_close(net.state_dict()[name], torch.stack([one[name] for one in seen]).mean(0))


def test_an_exponential_average_forgets_by_its_decay() -> None:
    net = network()
    average, seen = stepped(net, Exponential(decay=0.25))
    expected = seen[0]["0.weight"]
    for n, one in enumerate(seen[1:], 1):
        d = min(0.25, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * one["0.weight"]
    average.exchange(net)
    torch.testing.assert_close(net.get_parameter("0.weight").detach(), expected)


def test_an_exchange_is_undone_bit_for_bit() -> None:
    net = network()
    average, seen = stepped(net, Exponential())
    with average.within(net):
        assert not torch.equal(net.state_dict()["0.weight"], seen[-1]["0.weight"])
        with average.within(net):
            assert average.applied
    assert all(torch.equal(value, seen[-1][name]) for name, value in net.state_dict().items())


def test_without_an_update_there_is_nothing_to_exchange() -> None:
    net = network()
    before = net.state_dict()["0.weight"].clone()
    average = Average(net, Equal())
    with average.within(net):
        assert torch.equal(net.state_dict()["0.weight"], before)


def test_the_last_quarter_of_a_run_counts() -> None:
    assert [epoch for epoch in range(12) if Equal(0.75).begins(epoch, 12)] == [9, 10, 11]
    assert Exponential().begins(0, 12)


def test_it_begins_anew_where_a_longer_run_counts_other_epochs() -> None:
    for rule, before, now, left in ((Equal(0.75), 4, 12, 0), (Equal(0.75), 8, 9, 5), (Exponential(), 4, 12, 5)):
        average, _ = stepped(network(), rule)
        average.follow(before, now)
        assert average.updates == left


@pytest.mark.parametrize("make", [lambda: Exponential(decay=1.0), lambda: Equal(start=1.0)])
def test_a_value_out_of_range_is_refused(make: Callable[[], AverageRule]) -> None:
    with pytest.raises(ValueError, match=r"decay is between|start is a part"):
        make()


class Seen(L.Callback):
    """Keeps the weights that each validation and each training batch is done with, and what a checkpoint would hold."""

    def __init__(self) -> None:
        self.validated: list[Tensor] = []
        self.trained: list[Tensor] = []
        self.saved: list[Tensor] = []

    def _weight(self, module: Any) -> Tensor:
        return module.network.get_parameter("fc.weight").detach().clone()

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        self.validated.append(self._weight(pl_module))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.trained.append(self._weight(pl_module))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.saved.append(averaged_weights(pl_module.state_dict(), "network", "average")["fc.weight"].clone())


def fitted(make_module: Make, quiet_trainer: Make, loader: DataLoader[Any], rule: AverageRule | None) -> Seen:
    plain: SpikingModule = make_module()
    average = None if rule is None else Average(plain.network, rule)
    plain.average = average
    seen = Seen()
    quiet_trainer(max_epochs=4, callbacks=[seen]).fit(plain, loader, loader)
    return seen


RULES: dict[str, AverageRule] = {"ema": Exponential(0.9), "an epoch": Exponential(0.9, "epoch"), "swa": Equal(0.5)}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_it_is_validated_and_saved_and_trains_as_without(
    make_module: Make, quiet_trainer: Make, loader: DataLoader[Any], rule: AverageRule
) -> None:
    seen, without = (fitted(make_module, quiet_trainer, loader, one) for one in (rule, None))
    assert len(seen.trained) == 12
    assert all(torch.equal(a, b) for a, b in zip(seen.trained, without.trained, strict=True))
    begins = [rule.begins(epoch, 4) for epoch in range(4)]
    for epoch in range(4):
        validated, saved = seen.validated[3 * epoch], seen.saved[epoch]
        last = seen.trained[3 * epoch + 2]
        assert torch.equal(validated, saved)
        first = rule.every == "epoch" and begins.index(True) == epoch
        assert torch.equal(validated, last) == (first or not begins[epoch])
    if isinstance(rule, Equal):
        torch.testing.assert_close(seen.saved[-1], (seen.trained[8] + seen.trained[11]) / 2)


def test_a_module_without_options_has_none() -> None:
    assert Options() == (None, None, ())
