"""PyTorch's own tools on a Network, as in docs/tutorials/pytorch.md.

Axes: T steps, B samples.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.exc import Unsupported
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacrev, jvp, vmap

from snnlab.errors import ConfigError, SnnlabError
from snnlab.kernels.function import Backend
from snnlab.nn import NEURONS, Network, build_network
from snnlab.nn.neurons.base import set_backend

from ..marks import mostly_long
from ..refusals import assert_raises

# What torch's tools say of themselves.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{of_torch}")
    for of_torch in (
        "<class 'torch.autograd.function.Function'> should not be instantiated",
        "The .grad attribute of a Tensor that is not a leaf",
        ".torch.jit.* is deprecated",
        "Converting a tensor to a Python boolean",
    )
]

T, B, F = 4, 3, 6
LENGTHS = torch.tensor([T, 2, 0])

LINEAR = {"type": "linear", "out_features": F}
DENSE: dict[str, dict[str, Any]] = {
    "fc": LINEAR,
    "lif": {"type": "lif", "v_threshold": 0.3, "learn": {"tau_mem": "channel", "v_threshold": "channel"}},
    "out": {"type": "linear", "out_features": 4},
    "readout": {"type": "li"},
}


def conv(kind: str) -> dict[str, dict[str, Any]]:
    """Return a network with a convolution, pooling, a residual block, recurrent neurons and a readout."""
    return {
        "conv1": {"type": "conv2d", "out_channels": 4, "kernel_size": 3},
        "n1": {"type": kind, "v_threshold": 0.5},
        "pool1": {"type": "max_pool", "kernel_size": 2},
        "block": {
            "type": "residual",
            "layers": {
                "conv": {"type": "conv2d", "out_channels": 4, "kernel_size": 3, "padding": 1},
                "n": {"type": kind},
            },
        },
        "flatten": {"type": "flatten"},
        "rec": {"type": kind, "recurrent": True},
        "out": {"type": "linear", "out_features": 5},
        "readout": {"type": "li"},
    }


LOOP = {
    "loop": {
        "type": "loop",
        "layers": {"fc1": LINEAR, "l1": {"type": "lif"}, "fc2": LINEAR, "l2": {"type": "cuba_lif"}},
        "feedback": {"from": "l2", "to": "l1", "layers": {"fb": LINEAR}},
    }
}
PARALLEL = {"both": {"type": "parallel", "branches": {"a": {"n": {"type": "lif"}}, "b": {"i": {"type": "identity"}}}}}


def network(layers: Any = DENSE, in_shape: tuple[int, ...] = (F,), backend: Backend = "auto") -> Network:
    torch.manual_seed(0)
    made = build_network(layers, in_shape=in_shape, dt=1.0).network
    set_backend(made, backend)
    return made


def inputs(*shape: int) -> Tensor:
    return torch.rand(T, B, *(shape or (F,)), generator=torch.Generator().manual_seed(1)) * 3


def trained(module: nn.Module, run: Callable[..., Any], x: Tensor, **given: Any) -> list[Tensor]:
    """Return outputs, counts, and the gradients of input and parameters."""
    module.zero_grad()
    torch.manual_seed(2)
    counts: dict[str, Tensor] = {}
    x = x.clone().requires_grad_()
    y, _ = run(x, counts=counts, **given)
    (y.square().sum() + sum(n.square().sum() for n in counts.values())).backward()
    gradients = [x.grad, *(p.grad for p in module.parameters())]
    return [part.detach().clone() for part in (y, *counts.values(), *gradients) if part is not None]


def assert_compiles(module: Network, x: Tensor, backend: str, *, whole: bool = True, **given: Any) -> None:
    """Compare a network with itself, compiled."""
    torch.compiler.reset()
    expected = trained(module, module, x, **given)
    found = trained(module, torch.compile(module, fullgraph=whole, backend=backend), x, **given)
    assert len(found) == len(expected)
    assert any(part.any() for part in expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


# It takes more than a second for each neuron.
@pytest.mark.parametrize("kind", mostly_long(["cuba_lif", *(kind for kind in NEURONS if kind != "cuba_lif")], 1, 4))
def test_every_neuron_compiles_into_one_graph(kind: str) -> None:
    settings = {"input_gain": 1000.0} if kind in ("brf", "izhikevich", "vanilla_rf") else {}  # otherwise silent
    neuron = NEURONS.build(kind, settings, "n", in_shape=(F,), dt=1.0, num_steps=T)
    assert_compiles(Network({"fc": nn.Linear(F, F), "n": neuron}), inputs() * 30, "eager", lengths=LENGTHS)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["alif"])
def test_a_convolutional_network_compiles_into_one_graph(kind: str) -> None:
    assert_compiles(network(conv(kind), (2, 8, 8)), inputs(2, 8, 8), "aot_eager")


@pytest.mark.long
@pytest.mark.parametrize("layers", [LOOP, PARALLEL, DENSE], ids=["loop", "parallel", "learned"])
def test_blocks_and_lengths_compile_into_one_graph(layers: Any) -> None:
    assert_compiles(network(layers), inputs(), "eager", lengths=LENGTHS)


@pytest.mark.slow
def test_inductor_compiles_it() -> None:
    assert_compiles(network(conv("alif"), (2, 8, 8)), inputs(2, 8, 8), "inductor", lengths=LENGTHS)


@pytest.mark.long
def test_a_first_layer_on_events_compiles() -> None:
    made = network(conv("lif"), (2, 8, 8))
    made.configure(sparse_input="always")
    assert_compiles(made, inputs(2, 8, 8), "eager")


@pytest.mark.long
@pytest.mark.parametrize(
    "layers", [{"norm": {"type": "batch_norm"}, **DENSE}, {"gru": {"type": "gru", "hidden_size": F}}]
)
def test_batch_norm_with_lengths_and_gru_break_the_graph_and_give_the_same(layers: Any) -> None:
    assert_compiles(network(layers), inputs(), "eager", whole=False, lengths=LENGTHS)


@pytest.mark.long
def test_a_backend_that_is_named_is_refused_by_the_compiler_in_words() -> None:
    torch.compiler.reset()
    with pytest.raises((ValueError, Unsupported), match="backend"):
        torch.compile(network(backend="numba"), backend="eager")(inputs())


@pytest.mark.long
@pytest.mark.parametrize(("given", "strict"), [({"lengths": LENGTHS}, False), ({}, True)])
def test_it_exports_for_a_number_of_steps_and_any_batch(given: dict[str, Tensor], strict: bool) -> None:
    made, x = network(conv("lif"), (2, 8, 8)).eval(), inputs(2, 8, 8)
    batch = torch.export.Dim("batch", min=2)
    shapes = {"x": {1: batch}} | {name: {0: batch} for name in given}
    program = torch.export.export(made, (x,), given, dynamic_shapes=shapes, strict=strict).module()
    more = torch.cat([x, x.flip(0)], 1)
    lengths = {"lengths": torch.tensor([T, 1, 3, T, T, 2])} if given else {}
    torch.testing.assert_close(program(more, **lengths)[0], made(more, **lengths)[0])
    with assert_raises(AssertionError, "failed"):
        program(x[1:], **given)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_functional_call_takes_other_weights(backend: Backend) -> None:
    made, other = network(backend=backend), network()
    with torch.no_grad():
        for part in other.parameters():
            part.mul_(1.5)
    assert torch.equal(functional_call(made, dict(other.named_parameters()), (inputs(),))[0], other(inputs())[0])


@pytest.mark.parametrize("layers", [DENSE, {"rec": {"type": "lif", "recurrent": True}, **DENSE}], ids=["", "recurrent"])
def test_gradients_of_func_are_those_of_autograd(layers: Any) -> None:
    made, x = network(layers), inputs()
    weights = dict(made.named_parameters())
    found = grad(lambda weights: functional_call(made, weights, (x,))[0].square().sum())(weights)
    made(x)[0].square().sum().backward()
    for name, part in weights.items():
        assert part.grad is not None
        torch.testing.assert_close(found[name], part.grad)


def test_vmap_gives_each_sample_its_gradient() -> None:
    made, x = network(), inputs()
    weights = {name: part.detach() for name, part in made.named_parameters()}

    def loss(weights: dict[str, Tensor], one: Tensor) -> Tensor:
        return functional_call(made, weights, (one[:, None],))[0].square().sum()

    each = vmap(grad(loss), in_dims=(None, 1))(weights, x)
    for b in range(B):
        for name, part in grad(loss)(weights, x[:, b]).items():
            torch.testing.assert_close(each[name][b], part)


def test_vmap_runs_networks_of_other_weights_and_thresholds_side_by_side() -> None:
    made, x = network(), inputs()
    several = [{name: part.detach() * factor for name, part in made.named_parameters()} for factor in (1.0, 0.5)]
    together = {name: torch.stack([each[name] for each in several]) for name in several[0]}

    def loss(weights: dict[str, Tensor]) -> Tensor:
        return functional_call(made, weights, (x,))[0].square().sum()

    found, gradients = vmap(loss)(together), vmap(grad(loss))(together)
    for n, weights in enumerate(several):
        torch.testing.assert_close(found[n], loss(weights))
        for name, part in grad(loss)(weights).items():
            torch.testing.assert_close(gradients[name][n], part)


def test_forward_derivatives_are_those_of_the_surrogate() -> None:
    made, x, along = network(), inputs(), inputs().flip(0)
    y, forward, *_ = jvp(lambda x: made(x)[0], (x,), (along,))
    whole = jacrev(lambda x: made(x)[0])(x)
    expected = torch.tensordot(whole, along, 3)  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(forward, expected)
    torch.testing.assert_close(y, made(x)[0])
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(made(forward_ad.make_dual(x, along))[0])
    torch.testing.assert_close(dual.tangent, expected)


@pytest.mark.parametrize("kind", ["lif", "loihi2", "cuba_lif"])
def test_second_derivatives_of_func_are_those_of_the_plain_loop(kind: str) -> None:
    settings = {"tau_syn": "5 steps", "spikes": "several", "detach_reset": False} if kind == "cuba_lif" else {}
    neuron, x = NEURONS.build(kind, settings, "n", in_shape=(2,), dt=1.0), inputs(2)[:3, :1] * 0.3
    made = Network({"n": neuron})

    def loss(x: Tensor) -> Tensor:
        return made(x)[0].square().sum()

    found = hessian(loss)(x)
    set_backend(made, "reference")
    torch.testing.assert_close(found, torch.autograd.functional.hessian(loss, x))


def test_a_second_derivative_of_autograd_is_refused_and_the_plain_loop_has_it() -> None:
    made, x = network(), inputs().requires_grad_()
    with assert_raises(SnnlabError, "", "derivatives"):
        torch.autograd.grad(made(x)[0].square().sum(), x, create_graph=True)
    set_backend(made, "reference")
    (first,) = torch.autograd.grad(made(x)[0].square().sum(), x, create_graph=True)
    assert torch.autograd.grad(first.square().sum(), x)[0].any()


@pytest.mark.parametrize("layers", [DENSE, {"rec": {"type": "lif", "recurrent": True}}], ids=["", "recurrent"])
def test_several_gradients_at_once_are_refused_and_the_plain_loop_has_them(layers: Any) -> None:
    made, x = network(layers), inputs().requires_grad_()
    y = made(x)[0]
    several = torch.stack([torch.ones_like(y), torch.randn_like(y)])
    with assert_raises(SnnlabError, "", "reference"):
        torch.autograd.grad(y, x, several, is_grads_batched=True, retain_graph=True)
    with assert_raises(SnnlabError, "", "reference"):
        vmap(lambda one: torch.autograd.grad(y, x, one, retain_graph=True)[0])(several)
    set_backend(made, "reference")
    y = made(x)[0]

    def back(one: Tensor) -> Tensor:
        return torch.autograd.grad(y, x, one, retain_graph=True)[0]

    for found in (torch.autograd.grad(y, x, several, is_grads_batched=True, retain_graph=True)[0], vmap(back)(several)):
        for n, one in enumerate(several):
            torch.testing.assert_close(found[n], back(one))


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_a_backend_that_is_named_is_refused_by_func_in_words(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    made = network(backend=backend)
    with assert_raises(ConfigError, "backend"):
        vmap(lambda x: made(x[:, None])[0], in_dims=1)(inputs())


class TestJit:
    """`torch.jit`, which PyTorch itself calls deprecated."""

    @pytest.mark.parametrize("within", [False, True])
    def test_script_is_refused_in_words(self, within: bool) -> None:
        made = nn.Sequential(network()) if within else network()
        with assert_raises(SnnlabError, "", "torch.export.export"):
            torch.jit.script(made)

    def test_trace_takes_a_module_that_gives_outputs_alone(self) -> None:
        class Outputs(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.network = network(conv("cuba_lif"), (2, 8, 8))

            def forward(self, x: Tensor) -> Tensor:
                return self.network(x)[0]

        made, x = Outputs(), inputs(2, 8, 8)
        found: Any = torch.jit.trace(made, (x,))
        torch.testing.assert_close(found(x.flip(0)), made(x.flip(0)))


def _saved(made: Network) -> Network:
    buffer = io.BytesIO()
    torch.save(made, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made)), _saved])
def test_a_copy_runs_and_trains_by_itself(copied: Callable[[Network], Network]) -> None:
    made, x = network(conv("lif"), (2, 8, 8)), inputs(2, 8, 8)
    expected = trained(made, made, x)
    other = copied(made)
    for one, two in zip(trained(other, other, x), expected, strict=True):
        assert torch.equal(one, two)
    with torch.no_grad():
        for part in other.parameters():
            part.zero_()
    assert torch.equal(made(x)[0], expected[0])


def test_other_precisions_train() -> None:
    dtype = torch.bfloat16
    made = network(conv("lif"), (2, 8, 8)).to(dtype)
    assert {part.dtype for part in trained(made, made, inputs(2, 8, 8).to(dtype))} == {dtype}


def test_autocast_leaves_membranes_in_single_precision() -> None:
    made, x = network(conv("lif"), (2, 8, 8)), inputs(2, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        _, state = made(x)
    assert state["n1"].v.dtype == torch.float32
