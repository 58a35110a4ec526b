"""What docs/doctor.md and `snnlab doctor --help` promise: planted faults are found, fixed, and training shows it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from snnlab import train
from snnlab.config.merging import merge_overrides

from ..refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]

SMALL = ("model=mlp_lif", "model.layers.fc1.out_features=64")
# Only the weights after one epoch are used.
BARE = (
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "+trainer.enable_progress_bar=false",
    "logger=none",
    "plots=null",
    "test=false",
)


def proposed(done: Outcome) -> list[str]:
    """Return the overrides of the command in the last line of the output."""
    command, *overrides = shlex.split(done.out.splitlines()[-1])
    assert (command, overrides[0]) == ("snnlab", "train")
    return overrides[1:]


def fixes(done: Outcome) -> list[str]:
    """Return the overrides that the doctor says fix a finding."""
    return [shlex.split(found)[0] for found in re.findall(r"^  fixed by (.+)$", done.out, re.M)]


def trained(*overrides: str) -> dict[str, float]:
    return train(*BARE, *overrides).metrics


def averaged(*overrides: str) -> dict[str, float]:
    """Return means over seeds: the result of a single seed with a fault depends on rounding."""
    runs = [trained(*overrides, f"seed={seed}") for seed in range(3)]
    return {name: sum(run[name] for run in runs) / len(runs) for name in ("val/loss", "val/accuracy")}


FAULTS = {
    "weights too small": (
        ("model.init={type: variance_preserving, std: 0.0001}", "optimizer=sgd"),
        "lif1 receives 0.00081 of its threshold (1): no neuron spikes",
        ["model.init.std=0.5"],
    ),
    "threshold too high": (
        ("neuron.v_threshold=80",),
        "lif1 receives 0.022 of its threshold (80): no neuron spikes",
        ["neuron.v_threshold=1.0"],
    ),
    "surrogate too narrow": (
        ("neuron.surrogate.width=0.001",),
        "lif1's surrogate is 0.001 thresholds wide",
        ["neuron.surrogate.width=0.3"],
    ),
    "rate saturated": (
        ("model.layers.lif1.v_threshold=0.001",),
        "lif1 is saturated: its membranes reach ",
        ["model.layers.lif1.v_threshold=1.0"],
    ),
}


@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=() if "weights" in name else pytest.mark.slow) for name in FAULTS]
)
def test_a_planted_fault_is_found_and_training_with_the_fix_is_clearly_better(
    fault: str, workplace: Path, snnlab: Snnlab, digits_store: str
):
    planted, words, fix = FAULTS[fault]
    done = snnlab("doctor", *SMALL, *planted, digits_store)
    assert done.status == 1, done.err
    assert words in done.out
    assert fixes(done) == fix
    assert not (workplace / "outputs").exists()
    faulty, fixed = trained(*SMALL, *planted, digits_store), trained(*proposed(done))
    assert fixed["val/loss"] < 0.9 * faulty["val/loss"]
    assert fixed["val/accuracy"] > faulty["val/accuracy"] + 0.15


def test_an_infinite_gradient_is_found_and_its_fix_is_one_to_train_with(
    workplace: Path, snnlab: Snnlab, digits_store: str
):
    exploding = ("neuron=izhikevich", "neuron.input_gain=200", "neuron.surrogate={type: atan, width: 1.0}")
    done = snnlab("doctor", *SMALL, *exploding, digits_store)
    assert done.status == 1, done.err
    assert_text_has(done.out, "gradient", "lif1", "inf")
    assert fixes(done) == ["neuron.surrogate.width=0.1"]
    assert trained(*proposed(done))["val/accuracy"] > 0.15


def toy(folder: Path, classes: int, recordings: int, make: Callable[[int, np.random.Generator], np.ndarray]) -> None:
    """Write recordings of classes 0, 1, ... in turn; `make` returns the columns x, y, t (us), p."""
    rng = np.random.default_rng(0)
    for k in range(recordings):
        path = folder / f"c{k % classes}" / f"{k:03d}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, make(k, rng))


def bursts(k: int, rng: np.random.Generator) -> np.ndarray:
    """Return two bursts on two halves of the columns, 20 ms apart; the class says which half comes first."""
    start = 1000 * rng.integers(10, 50)
    x = np.concatenate([half + np.repeat(np.arange(8), 4) for half in ((0, 8), (8, 0))[k % 2]])
    t = np.concatenate([at + np.sort(rng.integers(0, 10_000, 32)) for at in (start, start + 20_000)])
    return np.stack([x, rng.integers(0, 2, 64), t, rng.integers(0, 2, 64)], 1)


def blob(k: int, rng: np.random.Generator) -> np.ndarray:
    """Return a blob whose place is its class; ON events in the first recordings, OFF events in the rest."""
    x, y = (np.clip(rng.normal(4 + 8 * side, 3, 60), 0, 15).astype(int) for side in (k % 2, k // 2 % 2))
    return np.stack([x, y, np.sort(rng.integers(0, 100_000, 60)), np.full(60, k < 120)], 1)


def settings_of(folder: Path, size: str, classes: int) -> tuple[str, ...]:
    of_data = (f"data.root={folder}", f"data.sensor_size={size}", f"data.num_classes={classes}")
    return ("data=folder", *of_data, "data.duration_ms=100", "data.num_bins=10", "data.batch_size=16", *SMALL)


def test_a_time_constant_below_a_step_is_found_and_a_task_with_memory_is_learned_with_the_fix(
    workplace: Path, snnlab: Snnlab
):
    toy(workplace / "bursts", 2, 120, bursts)
    settings = (*settings_of(workplace / "bursts", "[16,2,2]", 2), f"data.store_dir={workplace / 's'}")
    settings = (*settings, "data.val_fraction=0.3", "neuron.tau_mem=1")
    done = snnlab("doctor", *settings)
    assert done.status == 1, done.err
    assert_text_has(done.out, "lif1", "tau_mem of 1 ms", "0.1 of a step", "10 ms")
    assert fixes(done) == ["neuron.tau_mem=20.0"]
    faulty, fixed = trained(*settings, "trainer.max_epochs=10"), trained(*proposed(done), "trainer.max_epochs=10")
    assert fixed["val/accuracy"] > 0.8 > 0.7 > faulty["val/accuracy"]


@pytest.mark.long
def test_a_dead_polarity_is_found_and_merged_so_that_recordings_with_the_other_one_are_correct(
    workplace: Path, snnlab: Snnlab
):
    toy(workplace / "blobs", 4, 160, blob)
    rows = [f"c{k % 4}/{k:03d}.npy,{'train' if k < 120 else 'val'}" for k in range(160)]
    (workplace / "split.csv").write_text("\n".join(["recording,split", *rows]))
    settings = (*settings_of(workplace / "blobs", "[16,16,2]", 4), f"data.store_dir={workplace / 's'}")
    settings = (*settings, f"data.split_file={workplace / 'split.csv'}", "data.test_fraction=0")
    done = snnlab("doctor", *settings)
    assert done.status == 1, done.err
    assert_text_has(done.out, "channel p=0", "16 recordings")
    assert fixes(done) == ["data.representation={type: counts, merge: true}"]
    faulty, fixed = trained(*settings, "trainer.max_epochs=4"), trained(*proposed(done), "trainer.max_epochs=4")
    assert fixed["val/accuracy"] > 0.9 > 0.6 > faulty["val/accuracy"]


def test_silent_layers_are_fixed_in_order_and_all_overrides_are_printed_together(
    workplace: Path, snnlab: Snnlab, digits_store: str
):
    high = [f"model.layers.lif{number}.v_threshold=90" for number in (1, 2)]
    done = snnlab("doctor", *high, "data.batch_size=4", digits_store)
    assert done.status == 1, done.err
    assert fixes(done) == ["model.layers.lif1.v_threshold=1.0", "model.layers.lif2.v_threshold=1.0"]
    assert proposed(done)[-2:] == fixes(done)
    assert not any("=90" in override for override in proposed(done))
    assert_text_has(done.out, "With these", "works")


GOOD = {
    "mlp_lif": ("model=mlp_lif",),
    "mlp_recurrent": ("model=mlp_recurrent",),
    "spike_patterns": ("data=spike_patterns", "data.num_recordings=200"),
    "conv_lif": ("model=conv_lif",),
    "conv_cuba_lif": ("model=conv_cuba_lif",),
    "conv_loop": ("model=conv_loop",),
    "sew_resnet": ("model=sew_resnet",),
    "gru": ("model=gru",),
    "norse_intro": ("experiment=norse_intro",),
}


def assert_finds_nothing(snnlab: Snnlab, *overrides: str) -> None:
    done = snnlab("doctor", *overrides)
    assert done.status == 0, done.out + done.err
    assert_text_has(done.out, "Nothing")


# The larger ones run in make slow.
OFTEN = ("mlp_lif", "mlp_recurrent", "spike_patterns", "conv_lif", "gru")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in OFTEN else pytest.mark.slow) for n in GOOD])
def test_nothing_is_found_in_the_packaged_models(name: str, workplace: Path, snnlab: Snnlab, digits_store: str):
    assert_finds_nothing(snnlab, *GOOD[name], digits_store)


DEEPER = {
    "weights too small": ("model.init={type: variance_preserving, std: 0.0005}", "optimizer=sgd"),
    "threshold too high": ("model.layers.lif2.v_threshold=60",),
    "surrogate too narrow": ("neuron.surrogate.width=0.001",),
    "rate saturated": ("neuron.v_threshold=0.001",),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", DEEPER)
def test_two_convolutions_learn_with_the_fixes_too(fault: str, workplace: Path, snnlab: Snnlab, digits_store: str):
    done = snnlab("doctor", *DEEPER[fault], digits_store)
    assert done.status == 1, done.err
    faulty, fixed = averaged(*DEEPER[fault], digits_store), averaged(*proposed(done))
    assert fixed["val/loss"] < 0.9 * faulty["val/loss"]
    assert fixed["val/accuracy"] > faulty["val/accuracy"] + 0.1


def test_the_network_of_a_run_is_measured_with_its_weights(workplace: Path, snnlab: Snnlab, digits_store: str):
    result = train(*BARE, *SMALL, digits_store)
    assert_finds_nothing(snnlab, str(result.folder))
    done = snnlab("doctor", str(result.folder), "model.layers.lif1.v_threshold=2000")
    assert done.status == 1
    assert "snnlab doctor " in done.out.splitlines()[-2]
    assert "model.init" not in done.out


def test_the_table_has_a_row_per_layer_of_neurons(workplace: Path, snnlab: Snnlab, digits_store: str):
    done = snnlab("doctor", *SMALL, "data.num_bins=16", "data.batch_size=4", digits_store)
    title, head, *rows = done.out.splitlines()
    assert_text_has(title, "mlp_lif_saccade_digits", "4 recordings", "16 steps", "20 ms", "loss")
    assert [row.split()[0] for row in rows[:3]] == ["(frames)", "lif1", "readout"]
    assert "Hz" in head
    assert max(map(len, rows[:6])) <= 120


def test_a_fix_replaces_another_override_of_the_same_setting(workplace: Path, snnlab: Snnlab, digits_store: str):
    narrow = ("neuron.surrogate={type: superspike, alpha: 100}", "neuron.surrogate.alpha=20000")
    assert merge_overrides(["neuron.beta=0.1", "seed=1", "neuron.tau_mem=20.0"]) == ["seed=1", "neuron.tau_mem=20.0"]
    done = snnlab("doctor", *SMALL, *narrow, digits_store)
    assert done.status == 1, done.err
    assert "neuron.surrogate.width=0.3" in fixes(done)
    assert not any("alpha=" in override for override in proposed(done))


def test_a_mistake_exits_with_2_and_is_named(workplace: Path, snnlab: Snnlab):
    done = snnlab("doctor", "neuron.taumem=3")
    assert done.status == 2
    assert_error_has(done.error, "neuron.taumem")
    done = snnlab("doctor", "nowhere")
    assert done.status == 2
    assert_error_has(done.error, "nowhere", "folder")
    assert snnlab("doctor", "--help").out.startswith("usage: snnlab doctor")
