"""What is known of neurons and surrogates before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from snnlab.cli.kinds import registry
from snnlab.config.catalogue import REGISTRIES, catalogue
from snnlab.config.compose import compose_experiment
from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.spec.field import Field
from snnlab.spec.signatures import fields_of

from ..marks import mostly_long
from ..refusals import assert_raises

OWN = """
from typing import Annotated
from snnlab.nn import LIF, NEURONS, Neuron
from snnlab.spec.declared import setting
from snnlab.spec.interval import above

@NEURONS.register("own_lif")
class OwnLIF(LIF):
    gamma: Annotated[float, "mV", above(0)] = 1.0

@NEURONS.register("own")
class Own(Neuron):
    tau_mem: float = 20.0
    beta: float = 0.5
    top: float = setting(default=1.0, alias="v_max")
"""


@pytest.mark.parametrize("kind", REGISTRIES)
def test_it_knows_each_field_as_its_class_does(kind: str) -> None:
    def facts(fields: Mapping[str, Field]) -> dict[str, tuple[Any, ...]]:
        names = "kind", "unit", "interval", "excludes", "required", "settings_of", "read_by", "names_read_by"
        return {one.name: tuple(getattr(one, name) for name in names) for one in fields.values()}

    for name in catalogue().names(kind):
        read = catalogue().fields_of(kind, name)
        assert read is not None
        real = fields_of(registry(kind).get(name, ""), REGISTRIES[kind].supplied)
        assert facts(read) == facts(real)
        values = (None, True, 2, -0.5, 1e9, "text", "mean", [1], [0.5, -1.0], [True], {}, {"type": "lif"})
        for field in read:
            assert [read[field].problem(one) for one in values] == [real[field].problem(one) for one in values]


def neuron(*overrides: str, folder: Path | None = None) -> Mapping[str, Any]:
    experiment, _ = compose_experiment(overrides, folder)
    assert experiment.neuron is not None
    return experiment.neuron


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_parts.py").write_text(OWN)
    return "plugins=[own_parts]"


def test_a_given_setting_replaces_the_one_that_it_excludes() -> None:
    assert "tau_mem" not in neuron("neuron=lif", "neuron.beta=0.9")
    assert "tau_adapt" not in neuron("neuron=alif", "neuron.rho=0.9")
    assert "tau_mem" in neuron("neuron=lif", "neuron.beta=null")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("neuron.beta=0.9", "neuron.tau_mem=5"),
        ("neuron.surrogate.width=0.5", "neuron.surrogate.alpha=5"),
        ("model.layers.lif1.surrogate.width=0.5", "model.layers.lif1.surrogate.alpha=5"),
    ],
)
def test_two_that_exclude_each_other_are_refused(one: str, other: str) -> None:
    surrogate = [f"{one.rpartition('.')[0]}={{type: atan}}"] if "surrogate" in one else []
    with assert_raises(ConfigError, one.partition("=")[0], other.partition("=")[0]):
        compose_experiment(["model=mlp_lif", "neuron=lif", *surrogate, one, other], None)


def test_a_users_neuron_has_the_exclusions_of_its_base_and_may_have_none(own: str, tmp_path: Path) -> None:
    assert "tau_mem" not in neuron(own, "neuron=lif", "neuron.type=own_lif", "neuron.beta=0.9", "neuron.gamma=2")
    (tmp_path / "neuron").mkdir()
    (tmp_path / "neuron" / "own.yaml").write_text("type: own\ntau_mem: 5\n")
    both = neuron(own, "neuron=own", "neuron.beta=0", folder=tmp_path)
    assert (both["tau_mem"], both["beta"]) == (5, 0)
    assert neuron(own, "neuron=own", "neuron.v_max=2", folder=tmp_path)["v_max"] == 2
    with assert_raises(UnknownSettingError, "neuron.top"):
        neuron(own, "neuron=own", "neuron.top=2", folder=tmp_path)


# Composing imports neither torch nor a layer: only the catalogue knows.
@pytest.mark.parametrize(
    ("override", "facts"),
    mostly_long(
        [
            ("model.layers.fc1.delay={mux: 3}", ("model.layers.fc1.delay.mux", "max")),
            ("model.layers.fc1.delay={learn: true}", ("model.layers.fc1.delay", "max")),
            ("model.layers.fc1.delay={max: 3 stps}", ("model.layers.fc1.delay.max", "3 stps")),
            ("model.layers.fc1.delay={max: 3, initial: evn}", ("model.layers.fc1.delay.initial", "even")),
            ("model.layers.fc1.delay={max: 3, sigma: -1}", ("model.layers.fc1.delay.sigma", -1)),
            (
                "model.layers.wait={type: delay, after: fc1, delay: {max: 3, count: 2}}",
                ("model.layers.wait.delay.count",),
            ),
            ("neuron.recurrent={delay: {max: 3, learn: 2}}", ("neuron.recurrent.delay.learn", 2)),
            ("neuron.recurrent={delay: {max: 3, count: 2}}", ("neuron.recurrent.delay.count",)),
            ("neuron.learn=[tau_men]", ("neuron.learn", "tau_men", "tau_mem")),
            ("neuron.learn=[decay]", ("neuron.learn", "decay")),
            ("neuron.learn={tau_mem: chanel}", ("neuron.learn.tau_mem", "chanel", "channel")),
            ("model.layers.lif1={type: lif, tau_mem: 5, beta: 0.5}", ("model.layers.lif1", "tau_mem", "beta")),
        ],
        4,
    ),
)
def test_settings_within_a_setting_and_rules_between_settings_are_known_before_torch(
    override: str, facts: tuple[object, ...]
) -> None:
    with assert_raises((ConfigError, UnknownSettingError), *facts):
        compose_experiment(["model=mlp_lif", "neuron=lif", override], None)


def test_settings_within_a_setting_are_taken_and_what_is_replaced_is_not_learned() -> None:
    compose_experiment(["model=mlp_lif", "model.layers.fc1.delay={max: 3, count: 2, initial: 2 steps}"], None)
    compose_experiment(
        ["neuron=lif", "neuron.recurrent={delay: {max: 3 steps}}", "neuron.learn={tau_mem: channel}"], None
    )
    compose_experiment(["neuron=lif", "neuron.beta=0.5", "neuron.learn=[beta]"], None)
    with assert_raises(ConfigError, "neuron.learn", "tau_mem", "beta"):
        compose_experiment(["neuron=lif", "neuron.beta=0.5", "neuron.learn=[tau_mem]"], None)


TIMES = "lightning.pytorch.callbacks.GradientAccumulationScheduler"


def test_callbacks_that_lightning_refuses_as_a_training_starts_are_refused_with_their_place() -> None:
    own = f"callbacks.mine={{_target_: {TIMES}, scheduling: {{0: 4}}}}"
    compose_experiment([own], None)
    with assert_raises(ConfigError, "callbacks.mine", "trainer.accumulate_grad_batches"):
        compose_experiment([own, "trainer.accumulate_grad_batches=2"], None)
    with assert_raises(ConfigError, "callbacks.mine", "BackboneFinetuning", "freeze"):
        compose_experiment(["callbacks.mine={_target_: lightning.pytorch.callbacks.BackboneFinetuning}"], None)


def test_a_misspelt_setting_is_refused_with_its_place(own: str) -> None:
    for name, setting in (("neuron.taumem", "tau_mem"), ("model.layers.lif1.surrogate.hight", "height")):
        with assert_raises(UnknownSettingError, name, setting):
            compose_experiment(["model=mlp_lif", "neuron=lif", f"{name}=3"], None)
    with assert_raises(UnknownSettingError, "neuron.gama", "gamma"):
        compose_experiment([own, "neuron=lif", "neuron.type=own_lif", "neuron.gama=3"], None)
    with assert_raises(UnknownSettingError, "neuron.tau_mem", "neuron=NAME", "neuron/NAME.yaml"):
        compose_experiment(["neuron=lif", "neuron.type=psn"], None)
