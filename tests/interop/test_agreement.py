"""The zoo's networks load SpikingJelly's state dicts, and agree with SpikingJelly on outputs and gradients.

Axes: T steps, B samples.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from snnlab.interop.spikingjelly import match_spikingjelly
from snnlab.interop.state_dicts import load_state_dict

from ..zoo import jelly
from ..zoo.networks import NETWORKS, SIZES

pytestmark = pytest.mark.peers
ATAN = ("neuron.detach_reset=true", "neuron.surrogate={type: atan, alpha: 2.0}")
# `make test` has one, `make check` this one more, `make slow` the rest.
LONG = {"sew_gesture"}
STEPS = 2


def randomize(network: nn.Module) -> None:
    """Draw all constants of norms and neurons, so that no two tensors are equal; linear layers make neurons spike."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.dim() < 2 and value.is_floating_point():
                noise = torch.rand(value.shape, generator=generator, dtype=value.dtype)
                value.copy_(noise + 0.5 if name.endswith(("weight", "running_var")) else noise - 0.3)
            elif value.dim() == 2:
                value.mul_(6.0)


def stop_dropout(network: nn.Module) -> None:
    for module in network.modules():
        if "Dropout" in type(module).__name__:
            module.p = 0.0  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]


def assert_near(found: Tensor | None, expected: Tensor | None, fraction: float, atol: float = 0.0) -> None:
    """Assert that the error is at most a fraction of the largest value."""
    assert found is not None
    assert expected is not None
    torch.testing.assert_close(found, expected, rtol=0, atol=fraction * float(expected.detach().abs().max()) + atol)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.long if name in LONG else pytest.mark.slow) for name in jelly.MAKE],
)
def test_it_loads_spikingjellys_weights_and_gives_its_outputs_and_gradients(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = jelly.make(name).double()
    randomize(theirs)
    stop_dropout(theirs)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pt")
    ours = NETWORKS[name].build(*(() if name == "vgg_snn" else ATAN), size=SIZES.get(name)).network
    stop_dropout(ours.double())
    load_state_dict(ours, tmp_path / "theirs.pt", "spikingjelly")

    assert ours.built_from is not None
    x = torch.poisson(torch.full((STEPS, 1, *ours.built_from.in_shape), 0.5, dtype=torch.float64)).requires_grad_()
    x_theirs = x.detach().clone().requires_grad_()
    y, expected = ours(x)[0], theirs(x_theirs)
    assert expected.std() > 0.01
    assert_near(y, expected, 1e-5)
    weights = torch.rand_like(expected)
    (y * weights).sum().backward()
    (expected * weights).sum().backward()
    assert_near(x.grad, x_theirs.grad, 1e-4)

    own, targets = dict(ours.named_parameters()), match_spikingjelly(tmp_path, theirs.state_dict(), ours).targets
    assert {targets[key] for key, _ in theirs.named_parameters()} == own.keys()
    for key, parameter in theirs.named_parameters():
        sign = -1.0 if key.endswith(".w") else 1.0  # SpikingJelly's w is the negative of the stored number
        grad = own[str(targets[key])].grad
        assert grad is not None
        # The gradient of a bias before a normalization is 0 up to rounding.
        assert_near(sign * grad, parameter.grad, 1e-4, atol=1e-10)
