"""A network makes one plan for each kind of input, independent of the input's values."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from snnlab.nn import LI, LIF, Network, plan as planning, stages
from snnlab.nn.neurons.base import set_backend
from snnlab.nn.plan import Plan
from snnlab.nn.stages import FusedEvents, FusedNeuron, SpikeConvolution, Stage, observe_stages

from ..marks import mostly_long

T, B = 6, 4


def network() -> Network:
    """Return a network built in plain PyTorch, always with the same weights."""
    torch.manual_seed(0)
    layers = {
        **{"conv1": nn.Conv2d(2, 8, 3), "lif1": LIF(5.0, v_threshold=0.3), "pool1": nn.MaxPool2d(2)},
        **{"conv2": nn.Conv2d(8, 8, 3), "lif2": LIF(5.0, v_threshold=0.1), "flatten": nn.Flatten()},
        **{"out": nn.Linear(8 * 9, 5), "readout": LI(5.0)},
    }
    return Network(layers)


def frames(density: float = 0.5) -> Tensor:
    """Return frames in PyTorch's default memory format."""
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(T, B, 2, 12, 12, generator=generator) < density).float()


def step(net: Network, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the output and the gradients of a step."""
    net.zero_grad()
    y, _ = net(x)
    y.square().sum().backward()
    return y.detach(), [p.grad.clone() for p in net.parameters() if p.grad is not None]


@pytest.mark.long
def test_a_kind_of_input_is_planned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Plan] = []
    make = planning.make_plan

    def counted(*args: Any, **settings: Any) -> Plan:
        made.append(make(*args, **settings))
        return made[-1]

    monkeypatch.setattr(planning, "make_plan", counted)
    net = network()
    for batch in (frames(), frames(0.1), torch.cat([frames()] * 2, 1), torch.cat([frames()] * 2)):
        net(batch)
    assert len(made) == 1
    with torch.no_grad():
        net(frames())
    assert len(made) == 2


def hook(net: Network) -> None:
    net.get_submodule("pool1").register_forward_hook(lambda *_: None)


def another_layer(net: Network) -> None:
    net.add_module("pool1", nn.AvgPool2d(2))


def another_size(net: Network) -> None:
    pool = net.get_submodule("pool1")
    assert isinstance(pool, nn.MaxPool2d)
    pool.ceil_mode = True


CHANGES: dict[str, Callable[[Network], Any]] = {
    "a hook": hook,
    "another layer": another_layer,
    "another size of windows": another_size,
    "a parametrization": lambda net: parametrizations.weight_norm(net.get_submodule("conv2")),
    "a backend": lambda net: set_backend(net, "reference"),
    "no fusing": lambda net: net.configure(fuse=False),
    "evaluation": lambda net: net.eval(),
    "a frozen layer": lambda net: net.get_submodule("conv1").requires_grad_(requires_grad=False),
    "double precision": lambda net: net.double(),
    "segments": lambda net: net.configure(checkpoint_segments=2),
}


@pytest.mark.parametrize("change", mostly_long([pytest.param(change, id=name) for name, change in CHANGES.items()], 5))
def test_a_network_that_changes_is_planned_anew(change: Callable[[Network], Any]) -> None:
    used, fresh = network(), network()
    step(used, frames())
    change(used)
    change(fresh)
    x = frames().to(next(used.parameters()).dtype)
    (y, gradients), (expected, of_expected) = step(used, x), step(fresh, x)
    assert torch.equal(y, expected)
    assert all(torch.equal(a, b) for a, b in zip(gradients, of_expected, strict=True))
    assert len(used._plans) == 2


def test_a_global_hook_prevents_fusion() -> None:
    net, seen = network(), []
    net(frames())
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(type(module)))
    try:
        net(frames())
    finally:
        handle.remove()
    assert seen.count(nn.MaxPool2d) == 1


INPUTS: dict[str, Callable[[], Tensor]] = {
    "another size": lambda: frames()[..., :10, :10],
    "double precision": lambda: frames().double(),
    "channels-last": lambda: frames().permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3),
    "a gradient for the input": lambda: frames().requires_grad_(),
}


@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS)
def test_another_kind_of_input_has_another_plan(make: Callable[[], Tensor]) -> None:
    line = Network({"pool": nn.MaxPool2d(2), "lif": LIF(5.0, v_threshold=0.3), "pool1": nn.AvgPool2d(2)})
    line(frames())
    line(make())
    assert len(line._plans) == 2


def test_autocast_has_another_plan() -> None:
    net = network()
    net(frames())
    with torch.autocast("cpu", torch.bfloat16):
        net(frames())
    dtypes = [plan.spec.autocast for plan in net._plans._plans.values()]
    assert dtypes == [None, torch.bfloat16]


def test_there_are_never_more_than_a_few_plans() -> None:
    line = Network({"lif": LIF(5.0)})
    for size in range(1, 2 * planning._MAX_PLANS):
        line(torch.rand(T, B, size))
    assert len(line._plans) == planning._MAX_PLANS


@pytest.mark.long
def test_two_threads_share_one_plan_and_get_the_same_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    made, start, make = [], Barrier(2), planning.make_plan
    net, inputs = network(), [frames(0.5), frames(0.3)]
    expected = [step(copy.deepcopy(net), x) for x in inputs]

    def counted(*args: Any, **settings: Any) -> Plan:
        made.append(1)
        return make(*args, **settings)

    monkeypatch.setattr(planning, "make_plan", counted)

    def run(x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        start.wait()
        y, _ = net(x)
        return y.detach(), torch.autograd.grad(y.square().sum(), list(net.parameters()))

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(run, inputs))
    assert len(made) == 1
    for (y, gradients), (right, of_right) in zip(found, expected, strict=True):
        assert torch.equal(y, right)
        assert all(torch.equal(a, b) for a, b in zip(gradients, of_right, strict=True))


@pytest.mark.long
def test_observers_of_another_thread_are_not_called() -> None:
    net, seen, start, end = network(), list[str](), Barrier(2), Barrier(2)

    def observe() -> None:
        with observe_stages(lambda stage, *_: seen.append(stage.name)):
            start.wait()
            net(frames())
            end.wait()

    def running() -> None:
        start.wait()
        net(frames())
        net(frames())
        end.wait()

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(observe), threads.submit(running)]:
            done.result()
    assert seen == [stage.name for stage in net.plan(frames()).stages]


def test_two_forward_passes_before_one_backward_pass() -> None:
    net, inputs = network(), [frames(0.5), frames(0.3)]
    apart = [step(net, x)[1] for x in inputs]
    net.zero_grad()
    torch.stack([net(x)[0].square().sum() for x in inputs]).sum().backward()
    together = [p.grad for p in net.parameters()]
    for both, one, other in zip(together, *apart, strict=True):
        assert both is not None
        torch.testing.assert_close(both, one + other)


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save"])
def test_copies_and_state_dicts_have_no_plans(how: str) -> None:
    net = network()
    expected = net(frames())[0]
    if how == "deepcopy":
        copied = copy.deepcopy(net)
    elif how == "pickle":
        copied = pickle.loads(pickle.dumps(net))
    else:
        torch.save(net, file := io.BytesIO())
        file.seek(0)
        copied = torch.load(file, weights_only=False)
    assert (len(net._plans), len(copied._plans)) == (1, 0)
    assert torch.equal(copied(frames())[0], expected)
    assert len(net._plans) == len(copied._plans) == 1
    assert net.state_dict().keys() == network().state_dict().keys()
    assert copied.get_submodule("lif1") is copied.plan(frames()).stages[0].layer


def test_a_network_built_in_python_runs_like_in_snnlab_train() -> None:
    events, spikes, neurons, *rest = network().plan(frames()).stages
    assert isinstance(events, FusedEvents)
    assert [name for name, _ in events.layers] == ["conv1", "lif1", "pool1"]
    assert not events.always
    assert isinstance(spikes, SpikeConvolution)
    assert isinstance(neurons, FusedNeuron)
    assert neurons.inplace
    assert [type(stage) for stage in rest] == [Stage] * 3


@pytest.mark.parametrize("channels", [1, 2])
def test_a_convolution_returns_channels_last_memory_for_any_input(channels: int) -> None:
    seen: list[Tensor] = []
    net = Network({"conv": nn.Conv2d(channels, 8, 3), "lif": LIF(5.0)})
    net.get_submodule("conv").register_forward_hook(lambda *args: seen.append(args[-1]))
    net(frames()[:, :, :channels].contiguous())
    assert seen[0].permute(0, 2, 3, 1).is_contiguous()


@pytest.mark.long
@pytest.mark.parametrize("density", [0.02, 0.5])
def test_few_events_are_summed_one_by_one_and_many_as_frames(density: float, monkeypatch: pytest.MonkeyPatch) -> None:
    from snnlab.kernels import events

    calls: list[int] = []
    run = events.run

    def counted(*args: Any, **settings: Any) -> Any:
        calls.append(1)
        return run(*args, **settings)

    monkeypatch.setattr(events, "run", counted)
    monkeypatch.setattr(stages, "MIN_CELLS", 1)
    net, x = network(), frames(density)
    y, gradients = step(net, x)
    assert len(calls) == (density == 0.02)
    net.configure(sparse_input="never")
    expected, of_expected = step(net, x)
    torch.testing.assert_close(y, expected)
    for found, right in zip(gradients, of_expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "wrong", [{"sparse_input": "sometimes"}, {"checkpoint_segments": -1}], ids=["sparse_input", "checkpoint_segments"]
)
def test_a_setting_out_of_its_range_is_refused(wrong: dict[str, Any]) -> None:
    net = network()
    with pytest.raises(ValueError, match=next(iter(wrong))):
        net.configure(**wrong)
    assert net.run_settings == planning.RunSettings()
