"""The published recipes build at full size, with the published networks' numbers of parameters."""

from __future__ import annotations

import pytest
import torch

from snnlab.config.compose import compose_experiment
from snnlab.nn import BuiltNetwork
from snnlab.session import Session

# Counted by hand from the sources that the experiments name.
CONVOLUTIONS = 2 * 9 * 128 + 2 * 128  # and its normalization; the others have 128 channels to read
PARAMETERS = {
    "nmnist_plif": CONVOLUTIONS + (128 * 9 * 128 + 2 * 128) + 128 * 8 * 8 * 2048 + 2048 * 100 + 4,
    "dvsgesture_plif": CONVOLUTIONS + 4 * (128 * 9 * 128 + 2 * 128) + 128 * 4 * 4 * 512 + 512 * 110 + 7,
    "cifar10dvs_vgg_tet": 9_271_498,
    "shd_recurrent": 700 * 200 + 200 * 200 + 200 * 20,
    "shd_adlif": (140 * 360 + 360 * 360 + 5 * 360) + (2 * 360 * 360 + 5 * 360) + (360 * 20 + 20),
    "ssc_adlif": (140 * 720 + 720 * 720 + 5 * 720) + (2 * 720 * 720 + 5 * 720) + (720 * 35 + 35),
    "shd_dcls": 2 * (140 * 256 + 256 * 256 + 256 * 20) + 2 * 2 * 256,
    "ssc_dcls": 2 * (140 * 512 + 2 * 512 * 512 + 512 * 35) + 3 * 2 * 512,
    "smnist_brf": 68_874,
    "psmnist_brf": 68_874,
    "smnist_recurrent": (79 * 220 + 220 * 220) + (220 * 10 + 10),
}


def built(recipe: str) -> BuiltNetwork:
    experiment, _ = compose_experiment([f"experiment={recipe}"], None)
    return Session(experiment).built


@pytest.mark.long
@pytest.mark.parametrize("recipe", PARAMETERS)
def test_a_recipe_has_the_published_number_of_parameters(recipe: str):
    network = built(recipe).network
    learned = sum(p.numel() for p in network.parameters())
    # Linear layers have biases where the sources have them; a feedback without autapses keeps its diagonal.
    assert learned == PARAMETERS[recipe]


@pytest.mark.long
def test_the_published_initial_weights_are_those_of_the_recipe():
    shd = built("shd_recurrent").network
    for name, fan in (("fc1", 700), ("lif1.feedback", 200), ("out", 200)):
        assert shd.get_parameter(f"{name}.weight").std().item() == pytest.approx(0.2 / fan**0.5, rel=0.05)
    vgg = built("cifar10dvs_vgg_tet").network
    assert vgg.get_parameter("conv4.weight").std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)
    assert vgg.get_parameter("out.weight").abs().max().item() <= (512 * 9) ** -0.5  # torch's own


@pytest.mark.long
def test_the_neuron_of_vgg_tet_is_that_of_its_program():
    lif = built("cifar10dvs_vgg_tet").network.get_submodule("lif1")
    x = (torch.rand(10, 4, 64, 3, 3, generator=torch.Generator().manual_seed(0)) * 2 - 0.5).requires_grad_()
    y, _ = lif(x)
    # u = v / 2 + x, s = H(u - 1), v = (1 - s) u, ds/du = max(0, 1 - |u - 1|), also through the reset.
    v, spikes = torch.zeros(4, 64, 3, 3), []
    for x_t in (theirs := x.detach().clone().requires_grad_()):
        u = v / 2 + x_t
        away = (u - 1).detach()
        s = (away > 0).float() + (1 - away.abs()).relu() * (u - u.detach())
        v = (1 - s) * u
        spikes.append(s)
    assert torch.equal(y, torch.stack(spikes))
    assert 0.1 < y.mean().item() < 0.5
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    (y * weights).sum().backward()
    (torch.stack(spikes) * weights).sum().backward()
    torch.testing.assert_close(x.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_a_hundred_neurons_of_the_lsnn_adapt_and_the_others_do_not():
    adapts = built("smnist_recurrent").network.get_buffer("lif1.neuron.adapts")
    assert adapts is not None
    assert torch.equal(adapts, torch.arange(220) >= 120)


def test_the_network_of_resonate_and_fire_neurons_is_its_authors_loop():
    # github.com/AdaptiveAILab/brf-neurons: SimpleResRNN, BRFCell, LICell; without the slope of their spikes.
    network, dt = built("smnist_brf").network, 0.01
    values = {name: value.detach() for name, value in network.named_parameters()}
    omega, b_offset = values["brf1.neuron.omega"], values["brf1.neuron.damping"]
    assert 15 <= omega.min() < 16 < 49 < omega.max() <= 50
    alpha = torch.exp(-1 / values["readout.learned.tau_mem"].exp())
    x = 400 * torch.rand(200, 3, 1, generator=torch.Generator().manual_seed(0))
    z = u = v = q = torch.zeros(3, 256)
    out, outputs = torch.zeros(3, 10), []
    p_omega = ((-1 + torch.sqrt(1 - torch.square(dt * omega.double()))) / dt).float()
    weight = torch.cat([values["fc1.weight"], values["brf1.feedback.weight"]], 1)
    assert weight.abs().max().item() == pytest.approx((6 / (257 + 256)) ** 0.5, rel=1e-3)
    for x_t in x:
        in_sum = torch.cat([x_t, z], 1) @ weight.T
        b = p_omega - b_offset - q
        u, v = u + b * u * dt - omega * v * dt + in_sum * dt, v + omega * u * dt + b * v * dt
        z = (u - 1.0 - q > 0).float()
        q = 0.9 * q + z
        out = out * alpha + z @ values["out.weight"].T * (1 - alpha)
        outputs.append(out)
    with torch.no_grad():
        y, _ = network(x)
    assert y.abs().max() > 0.01
    torch.testing.assert_close(y, torch.stack(outputs), rtol=1e-3, atol=1e-4)
