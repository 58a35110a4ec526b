"""A foreign run downloads, writes and reveals nothing that the user has not named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

import snnlab as package
from snnlab.errors import ConfigError

from ..marks import mostly_long
from ..refusals import assert_error_has, assert_raises
from .conftest import Outcome, edited

Snnlab = Callable[..., Outcome]
SECRET = "hunter2secret"
RUNS = ("evaluate", "export", "doctor", "resume", "reproduce", "again")
# All open a run with the same function: one that reads it, one that goes on with it and one that trains are enough.
SOME = [pytest.param(name, marks=() if name in ("evaluate", "resume", "again") else pytest.mark.long) for name in RUNS]


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", SECRET)


def opened(command: str, run: Path) -> list[str]:
    if command == "resume":  # one that has not ended
        (run / "result.json").unlink(missing_ok=True)
        shutil.rmtree(run / "checkpoints")
        return ["train", f"resume={run}"]
    if command == "again":
        return ["train", str(run / "config.yaml"), "output_dir=outputs"]
    words = {"export": ["--what", "weights", "--out", "weights.npz"]}.get(command, [])
    return [command, str(run), *words]


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def nmnist(address: str, root: Path, **more: object) -> dict[str, object]:
    """Return changes that give a run missing recordings with a download address of its own."""
    archives = [{"name": "train.zip", "md5": "0" * 32, "url": f"{address}/${{oc.env:SECRET}}"}]
    data = {"type": "nmnist", "root": str(root), "download": True, "archives": archives, "sensor_size": [34, 34, 2]}
    return {"data": {**data, "num_classes": 10, "duration_ms": 320.0, "num_bins": 4, "store_dir": None, **more}}


@pytest.mark.parametrize("command", mostly_long(["evaluate", *(name for name in RUNS if name != "evaluate")], 1))
def test_nothing_is_fetched_from_the_addresses_of_a_run(
    command: str, trained: Path, workplace: Path, server: tuple[str, list[str]], snnlab: Snnlab
) -> None:
    address, requested = server
    run = edited(trained, workplace / "run", nmnist(address, workplace / "made"))
    words = opened(command, run)
    before = tree(workplace)
    done = snnlab(*words)
    assert (done.status, requested) == (2, [])
    assert_error_has(done.error, "run", "data.root")
    assert SECRET not in done.err + done.out
    if command != "evaluate":
        return
    # Named again where they may lie, they are still not fetched from there.
    named = snnlab(*words, f"data.root={workplace / 'mine'}", "data.archives=[]")
    assert (named.status, requested) == (2, [])
    asks = snnlab(*words, f"data.root={workplace / 'mine'}", "data.download=true")
    assert (asks.status, requested) == (2, [])
    assert_error_has(asks.error, "run", "data.archives")
    assert tree(workplace) == before


def test_nothing_is_fetched_without_a_word_even_from_the_packaged_address(
    trained: Path, workplace: Path, server: tuple[str, list[str]], snnlab: Snnlab
) -> None:
    address, requested = server
    archives = [{"name": "train.zip", "md5": "0" * 32, "url": f"{address}/train.zip"}]
    run = edited(trained, workplace / "run", nmnist(address, workplace / "made", archives=archives))
    done = snnlab("evaluate", str(run), "data.root=mine")
    assert (done.status, requested) == (2, [])
    assert_error_has(done.error, "data.root", "recordings")
    assert not (workplace / "mine").exists()


SETTINGS: tuple[Mapping[str, str], ...] = (
    {"data.store_dir": "{outside}/store"},
    {"data.store_dir": "~/../{outside}/store"},
    {"data.split_file": "{outside}/private.csv"},
    {"data.store_dir": "${{oc.env:SECRET}}"},
)


@pytest.mark.parametrize(
    ("command", "setting"),
    [*((command, SETTINGS[0]) for command in RUNS[::3]), *(("evaluate", setting) for setting in SETTINGS[1:])],
    ids=str,
)
def test_a_run_makes_and_reads_nothing_outside_of_itself(
    command: str, setting: Mapping[str, str], trained: Path, workplace: Path, tmp_path: Path, snnlab: Snnlab
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "private.csv").write_text(f"user,{SECRET}\n")
    changes = {name: value.format(outside=outside) for name, value in setting.items()}
    run = edited(trained, workplace / "run", {"data.store_dir": None, **changes})
    words = opened(command, run)
    before = tree(workplace)
    done = snnlab(*words)
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert next(iter(changes)) in line
    assert SECRET not in done.err + done.out
    assert os.listdir(outside) == ["private.csv"]
    assert tree(workplace) == before


def test_a_folder_of_the_users_is_not_read_as_recordings(
    trained: Path, workplace: Path, tmp_path: Path, snnlab: Snnlab
) -> None:
    private = tmp_path / "private"
    for name in (SECRET, "other"):
        (private / name).mkdir(parents=True)
        np.save(private / name / "one.npy", np.zeros((4, 4), np.int64))
    data = {"type": "folder", "root": str(private), "labels": None, "sensor_size": [34, 34, 2], "num_classes": 10}
    whole = {"data": {**data, "duration_ms": 300.0, "num_bins": 4, "store_dir": None}}
    run = edited(trained, workplace / "run", whole)
    done = snnlab("evaluate", str(run))
    assert done.status == 2
    assert SECRET not in done.err
    assert_error_has(done.error, "run", "data.root", private)
    climbing = edited(run, workplace / "climbing", {"data.labels": "../private/table.csv"})
    assert_error_has(snnlab("evaluate", str(climbing), "data.root=.").error, "climbing", "data.labels")


LOGGERS = "lightning.pytorch.loggers."
WRITERS: dict[str, Mapping[str, object]] = {
    "tensorboard elsewhere": {"logger": {"x": {"_target_": f"{LOGGERS}TensorBoardLogger", "save_dir": "{outside}"}}},
    "a name that climbs": {"logger": {"x": {"_target_": f"{LOGGERS}TensorBoardLogger", "name": "../../../outside"}}},
    "a version that climbs": {"logger": {"x": {"_target_": f"{LOGGERS}TensorBoardLogger", "version": "../../outside"}}},
    "a table elsewhere": {"logger": {"x": {"_target_": f"{LOGGERS}CSVLogger", "save_dir": "{outside}"}}},
    "steps elsewhere": {"logger": {"x": {"_target_": "snnlab.runs.loggers.StepsCSV", "save_dir": "{outside}"}}},
    "a server": {"logger": {"x": {"_target_": f"{LOGGERS}MLFlowLogger", "tracking_uri": "{address}"}}},
    "wandb": {"logger": {"x": {"_target_": f"{LOGGERS}WandbLogger", "project": "theirs", "offline": True}}},
    "checkpoints elsewhere": {
        "callbacks": {"x": {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": "{outside}"}}
    },
    "a checkpoint after a failure": {
        "callbacks": {"x": {"_target_": "lightning.pytorch.callbacks.OnExceptionCheckpoint", "dirpath": "{outside}"}}
    },
    "weights of another run": {"init_from": "{outside}"},
    "weights of another project": {"model.weights": {"file": "{outside}"}},
    "the trainer's folder": {"trainer.default_root_dir": "{outside}"},
    "a profile": {
        "trainer.profiler": {"_target_": "lightning.pytorch.profilers.SimpleProfiler", "dirpath": "{outside}"}
    },
    "a hub": {"trainer.model_registry": "theirs"},
}


@pytest.mark.parametrize(
    ("command", "name"),
    mostly_long(
        [
            *((("resume", "again")[number % 2], name) for number, name in enumerate(WRITERS)),
            ("reproduce", "a server"),
            ("reproduce", "checkpoints elsewhere"),
        ],
        2,
    ),
)
def test_a_run_that_is_trained_writes_and_sends_nothing_elsewhere(
    command: str,
    name: str,
    trained: Path,
    digits_store: str,
    workplace: Path,
    tmp_path: Path,
    server: tuple[str, list[str]],
    snnlab: Snnlab,
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    changes = json.loads(json.dumps(WRITERS[name]).replace("{outside}", str(outside)).replace("{address}", server[0]))
    run = edited(trained, workplace / "run", changes)
    words = opened(command, run)
    before = tree(tmp_path)
    done = snnlab(*words, f"data.store_dir={digits_store}")
    assert done.status == 2
    assert next(iter(changes)) in done.err
    assert len(done.err.splitlines()) == 1
    assert (tree(tmp_path), server[1]) == (before, [])


def test_a_name_and_an_output_dir_that_climb_lead_nowhere(
    trained: Path, digits_store: str, workplace: Path, tmp_path: Path, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "x"}.items():
        monkeypatch.setenv(name, value)
    changes = {"name": "../../evil", "output_dir": str(tmp_path / "outside")}
    run = edited(trained, workplace / "runs" / "run", changes)
    done = snnlab("reproduce", str(run), f"data.store_dir={digits_store}")
    assert done.status == 2, done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["work"]
    assert [path.name for path in workplace.iterdir()] == ["runs"]


@pytest.mark.parametrize("output_dir", ["{outside}", "../outside", "~/outside"])
def test_a_foreign_experiment_is_trained_where_its_user_says(
    output_dir: str, trained: Path, digits_store: str, workplace: Path, tmp_path: Path, snnlab: Snnlab
) -> None:
    changes = {"output_dir": output_dir.format(outside=tmp_path / "outside")}
    run = edited(trained, workplace / "runs" / "run", changes)
    before = tree(tmp_path)
    done = snnlab("train", str(run / "config.yaml"), f"data.store_dir={digits_store}")
    assert done.status == 2
    assert_error_has(done.error, "runs/run", "output_dir")
    assert tree(tmp_path) == before
    alone = workplace / "copied" / "config.yaml"
    alone.parent.mkdir()
    shutil.copy(trained / "config.yaml", alone)
    assert_error_has(snnlab("train", str(alone)).error, "copied", "output_dir")


@pytest.mark.long
@pytest.mark.parametrize("reference", ["${oc.env:SECRET}", "${data.${oc.env:SECRET}}", "\\${oc.env:SECRET}"])
def test_a_run_is_shown_as_it_stands_and_asks_for_nothing(
    reference: str, trained: Path, workplace: Path, snnlab: Snnlab
) -> None:
    notes = [reference, "${oc.decode:'${oc.env:SECRET}'}", "\ue000{oc.env:SECRET}", "${now:%Y}"]
    run = edited(trained, workplace / "runs" / "run", {"name": reference, "optimizer.notes": notes})
    shown = [
        snnlab("report", str(run)),
        snnlab("report", "runs"),
        snnlab("runs", "list", "runs"),
        snnlab("runs", "compare", str(run), str(trained)),
        snnlab("bench", "compare", str(run), str(trained)),
        snnlab("bench", "table", "runs"),
        snnlab("show", str(run)),
    ]
    assert [done.status for done in shown] == [0] * len(shown), [done.err for done in shown]
    pages = [(run / "report.html").read_text(), (workplace / "runs" / "report.html").read_text()]
    assert not any(SECRET in text for done in shown for text in (done.out, done.err))
    assert not any(SECRET in page for page in pages)
    assert "oc.env" in pages[0]
    assert SECRET not in str(package.load(run).config)


@pytest.mark.parametrize("command", [*SOME, "predict"])
def test_a_run_that_asks_for_the_environment_is_not_run(
    command: str, trained: Path, digits_store: str, workplace: Path, snnlab: Snnlab
) -> None:
    run = edited(trained, workplace / "run", {"name": "${oc.env:SECRET}"})
    np.save(workplace / "one.npy", np.zeros((4, 4), np.int64))
    if command == "predict":
        done = snnlab("predict", str(run), "one.npy")
    else:
        done = snnlab(*opened(command, run), f"data.store_dir={digits_store}")
    assert done.status == 2
    assert_error_has(done.error, "run", "name=VALUE")
    assert SECRET not in done.err + done.out
    with assert_raises(ConfigError, "work/run", "name=VALUE"):
        _ = package.load(run).network if command != "resume" else package.train(f"resume={run}", "data.store_dir=null")


@pytest.mark.long
def test_links_in_a_run_lead_nowhere(trained: Path, digits_store: str, workplace: Path, snnlab: Snnlab) -> None:
    for name in ("log.txt", ".lock", "metrics.csv", "checkpoints", "tensorboard", "evaluations", "steps.csv"):
        run = workplace / f"run_{name}"
        shutil.copytree(trained, run)
        (run / "result.json").unlink()
        shutil.rmtree(run / name, ignore_errors=True)
        (run / name).unlink(missing_ok=True)
        target = workplace / f"mine_{name}"
        if name in ("checkpoints", "tensorboard", "evaluations"):
            target.mkdir()
        else:
            target.write_text("mine")
        (run / name).symlink_to(target)
        store = f"data.store_dir={digits_store}"
        commands = [
            ["train", f"resume={run}", store],
            *([] if name == "checkpoints" else [["evaluate", str(run), store]]),
        ]
        for words in commands:
            done = snnlab(*words)
            assert done.status == 2, (name, words)
            assert_error_has(done.error, run / name, "link")
        assert (list(target.iterdir()) == []) if target.is_dir() else target.read_text() == "mine", name


@pytest.mark.parametrize("name", ["log.txt", ".lock"])
def test_a_pipe_in_a_run_does_not_block(
    name: str, trained: Path, digits_store: str, workplace: Path, snnlab: Snnlab
) -> None:
    run = Path(shutil.copytree(trained, workplace / "run"))
    (run / "result.json").unlink()
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    done = snnlab("train", f"resume={run}", f"data.store_dir={digits_store}")
    assert done.status == 2
    assert_error_has(done.error, run / name, "neither")


def test_a_report_shows_nothing_of_other_files_through_links(trained: Path, workplace: Path, snnlab: Snnlab) -> None:
    (workplace / "private.json").write_text(json.dumps({"classes": [SECRET] * 10}))
    run = Path(shutil.copytree(trained, workplace / "run"))
    (run / "split.json").unlink()
    (run / "split.json").symlink_to(workplace / "private.json")
    done = snnlab("report", str(run))
    assert done.status == 2
    assert_error_has(done.error, "run/split.json", "link")
    assert not (run / "report.html").exists()


@pytest.mark.long
def test_a_linked_run_is_a_run(trained: Path, workplace: Path, snnlab: Snnlab) -> None:
    run = Path(shutil.copytree(trained, workplace / "real"))
    (workplace / "alias").symlink_to(run)
    assert snnlab("report", "alias").status == 0
    assert snnlab("runs", "list", ".").status == 0


def test_one_line_lists_all_settings_to_name(trained: Path, workplace: Path, snnlab: Snnlab) -> None:
    changes = {"plugins": ["their_plugin"], "data.store_dir": "/theirs", "name": "${oc.env:SECRET}"}
    run = edited(trained, workplace / "run", changes)
    done = snnlab("evaluate", str(run))
    (line,) = done.err.splitlines()
    assert all(word in line for word in ("plugins=[their_plugin]", "name=VALUE", "data.store_dir=/theirs"))
    named = snnlab("evaluate", str(run), "name=x", "data.store_dir=null", "plugins=[their_plugin]")
    assert_error_has(named.error, "plugins", "their_plugin")


@pytest.mark.parametrize(
    "changes",
    [
        {"hydra": {"searchpath": ["pkg://run"]}},
        {"hydra": {"callbacks": {"x": {"_target_": "run.Evil"}}}},
        {"defaults": ["/etc/passwd"]},
        {"defaults": [{"override hydra/launcher": "basic"}]},
    ],
    ids=str,
)
def test_a_run_folder_cannot_configure_hydra(
    changes: Mapping[str, object], trained: Path, workplace: Path, canary: Path, snnlab: Snnlab
) -> None:
    run = edited(trained, workplace / "run", changes)
    (run / "__init__.py").write_text(f"open({str(canary)!r}, 'w').close()\n")
    for words in (["show", "run"], ["report", "run"], ["evaluate", "run"], ["train", "resume=run"]):
        done = snnlab(*words)
        assert done.status == 2
        assert_error_has(done.error, "run/config.yaml", "run")
    assert not canary.exists()


@pytest.mark.parametrize("given", ["{outside}/private.txt", "private.txt", "${{name}}"])
def test_a_permutation_of_a_file_is_named_by_the_user(
    given: str, trained: Path, workplace: Path, tmp_path: Path, snnlab: Snnlab
) -> None:
    for place in (tmp_path / "outside", workplace):
        place.mkdir(exist_ok=True)
        (place / "private.txt").write_text("1 2 3 4")
    data = {"type": "pixel_mnist", "root": None, "sensor_size": [255, 1, 1], "num_classes": 10, "duration_ms": 7840.0}
    data |= {"num_bins": 784, "store_dir": None, "permutation": given.format(outside=tmp_path / "outside")}
    done = snnlab("evaluate", str(edited(trained, workplace / "run", {"data": data})))
    assert done.status == 2
    assert_error_has(done.error, "run", "data.permutation")
    assert "numbers" not in done.err
    seeded = snnlab("evaluate", str(edited(trained, workplace / "seeded", {"data": {**data, "permutation": 3}})))
    assert "data.permutation" not in seeded.err
