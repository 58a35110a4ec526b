"""Every neuron learns the embedded digits: `snnlab train model=conv_lif neuron=NAME`, half of the default's epochs.

The runs print their validation accuracy; pytest -s shows them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from snnlab import train
from snnlab.config.folders import config_folder
from snnlab.nn import NEURONS

pytestmark = pytest.mark.slow

FILES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((config_folder() / "neuron").glob("*.yaml"))}


# With torch's initial weights these are silent, or their surrogate is too narrow to train them.
NEEDS = {
    "norse_lif_box": ["model.init={type: fluctuation_driven}"],
    "brf": ["neuron.input_gain=100"],
    "coba_lif": ["neuron.surrogate={type: atan}", "neuron.detach_reset=true"],
    "izhikevich": [
        *("neuron.input_gain=200", "neuron.surrogate={type: atan, width: 1.0}", "neuron.detach_reset=true"),
        "trainer.gradient_clip_val=1",
    ],
    "norse_lif_refrac": ["neuron.detach_reset=true"],  # with its defaults it stays at chance
}


def spikes(name: str) -> bool:
    settings = dict(FILES[name])
    return NEURONS.build(settings.pop("type"), settings, name, dt=10.0, in_shape=(4, 8, 8), num_steps=30).spiking


SPIKING = [name for name in FILES if spikes(name)]
# The output of these two is made of spikes: they are no readouts.
READOUTS = [name for name in FILES if name not in SPIKING and name not in ("ts_lif", "tsodyks_markram")]


def accuracy(workplace: Path, *overrides: str) -> float:
    result = train(
        *overrides, "model=conv_lif", "trainer.max_epochs=6", "trainer.accelerator=cpu", "test=false", "plots=null"
    )
    found = result.metrics["val/accuracy"]
    print(f"{' '.join(overrides[1:])}: val/accuracy {found:.4f} in {result.folder}")
    return found


@pytest.mark.parametrize("name", SPIKING)
def test_a_spiking_neuron_learns(name: str, workplace: Path, digits_store: str) -> None:
    assert accuracy(workplace, digits_store, f"neuron={name}", *NEEDS.get(name, ())) > 0.9


def test_recurrent_neurons_learn(workplace: Path, digits_store: str) -> None:
    assert accuracy(workplace, digits_store, "neuron=lif", "neuron.recurrent=true") > 0.9


def test_learned_time_constants_and_thresholds_learn(workplace: Path, digits_store: str) -> None:
    assert accuracy(workplace, digits_store, "neuron.learn={tau_mem: channel, v_threshold: layer}") > 0.9


@pytest.mark.parametrize("name", READOUTS)
def test_an_integrator_reads_out(name: str, workplace: Path, digits_store: str) -> None:
    without = ["~model.layers.readout.tau_mem"] * (name == "integrator")  # the model's readout has a leak
    assert accuracy(workplace, digits_store, f"+neuron@model.layers.readout={name}", *without) > 0.9
