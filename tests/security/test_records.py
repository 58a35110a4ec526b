"""The files and messages of a run have no secrets of the user."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import yaml

from snnlab import load, train
from snnlab.config.compose import compose_experiment
from snnlab.errors import ConfigError

from ..refusals import assert_error_has, assert_raises
from .conftest import SHORT, Evil, Outcome

Snnlab = Callable[..., Outcome]
Theirs = Callable[[Mapping[str, str]], Path]
SECRET = "hunter2secret"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SECRET": SECRET, "TASK": "5", "RATE": "0.25", "FOLDER": "elsewhere", "YES": "true"}.items():
        monkeypatch.setenv(name, value)


def recorded(*overrides: str) -> Mapping[str, object]:
    record = compose_experiment(list(overrides), None)[0].record
    assert record is not None
    return record


def test_a_text_from_the_environment_is_recorded_as_its_reference() -> None:
    again = "+logger.wandb.group=${logger.wandb.notes}"
    record = recorded("name=x_${oc.env:SECRET}", "logger=wandb", "+logger.wandb.notes=${oc.env:SECRET}", again)
    assert record["name"] == "x_${oc.env:SECRET}"
    assert SECRET not in str(record)
    assert record["logger"]["wandb"]["notes"] == "${oc.env:SECRET}"  # type: ignore[index]


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("output_dir=${oc.env:FOLDER}/runs", ("output_dir", "elsewhere/runs")),
        ("init_from=${oc.env:FOLDER}", ("init_from", "elsewhere")),
        ("name=${oc.env:NOT_THERE,usual}", ("name", "usual")),
        ("name=task_${oc.env:TASK}", ("name", "task_5")),
    ],
)
def test_numbers_and_paths_are_recorded_as_they_are(override: str, value: tuple[str, object]) -> None:
    assert recorded(override)[value[0]] == value[1]


def test_no_address_of_an_archive_is_made_of_the_environment(theirs: Theirs, snnlab: Snnlab) -> None:
    archives = f"archives: [{{name: train.zip, md5: {'0' * 32}, url: 'http://x/${{oc.env:SECRET}}'}}]"
    nmnist = "# @package _global_\ndefaults:\n  - override /data: nmnist\ndata:\n"
    theirs({"experiment/nice.yaml": f"{nmnist}  {archives}\n"})
    done = snnlab("data", "where", "--config-dir", "theirs", "experiment=nice")
    assert done.status == 2
    assert_error_has(done.error, "data.archives[0].url", "address")
    assert SECRET not in done.err + done.out


@pytest.mark.long
def test_no_file_of_a_run_has_values_of_the_environment(
    workplace: Path, theirs: Theirs, digits_store: str, snnlab: Snnlab
) -> None:
    text = "# @package _global_\nname: ${oc.env:SECRET}\nlogger:\n  csv: {_target_: snnlab.runs.loggers.StepsCSV}\n"
    theirs({"experiment/nice.yaml": text})
    words = (*SHORT, f"data.store_dir={digits_store}", "experiment=nice", f"hydra.run.dir={workplace / 'run'}")
    run = train(*words, config_dir="theirs").folder
    assert snnlab("report", str(run)).status == 0
    assert snnlab("evaluate", str(run)).status == 0
    for path in run.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as parts:
                    content = b"".join(parts.read(name) for name in parts.namelist())
            assert SECRET.encode() not in content, path
    assert yaml.safe_load((run / "config.yaml").read_text())["name"] == "${oc.env:SECRET}"
    # Its own user runs it as it was, as long as the environment is as it was.
    assert load(run).experiment.name == SECRET


def test_a_variable_that_is_gone_is_named(trained: Path, theirs: Theirs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET")
    theirs({"experiment/nice.yaml": "# @package _global_\nname: ${oc.env:SECRET}\n"})
    with assert_raises(ConfigError, "name", "SECRET"):
        compose_experiment(["experiment=nice"], "theirs")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"postgresql://me:{SECRET}@host/db", "postgresql://me:***@host/db"),
        (f"mysql+pymysql://me:p@{SECRET}@host:3306/db", "mysql+pymysql://me:***@host:3306/db"),
        (f"postgresql://host/db?user=me&password={SECRET}&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        (f"https://host/x?api_key={SECRET}", "https://host/x?api_key=***"),
        (f"http://a:{SECRET}@b, http://c:{SECRET}@d", "http://a:***@b, http://c:***@d"),
        ("http://me:${oc.env:SECRET}@host", "http://me:${oc.env:SECRET}@host"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("http://host:80/x", "http://host:80/x"),
    ],
)
def test_a_password_in_an_address_is_masked(text: str, shown: str) -> None:
    from snnlab.printable import masked

    assert masked(text) == shown


def test_a_record_has_no_password_of_an_address_and_asks_for_it_again(
    workplace: Path, digits_store: str, snnlab: Snnlab
) -> None:
    address = f"+logger.tensorboard.comment=http://me:{SECRET}@host"
    record = recorded(address)
    assert "http://me:***@host" in str(record)
    assert SECRET not in str(record)
    done = snnlab("train", *SHORT, f"data.store_dir={digits_store}", "hydra.run.dir=run")
    assert done.status == 0, done.err
    text = (workplace / "run" / "config.yaml").read_text()
    (workplace / "run" / "config.yaml").write_text(
        text.replace("logger:\n", "logger:\n  x: {a: 'http://me:***@host'}\n")
    )
    (workplace / "run" / "result.json").unlink()
    assert_error_has(snnlab("train", "resume=run").error, "run", "logger.x.a=ADDRESS")


def test_a_failed_download_reports_no_password(workplace: Path, snnlab: Snnlab) -> None:
    archive = f"[{{name: a.zip, md5: {'0' * 32}, url: 'http://me:{SECRET}@127.0.0.1:1/a.zip'}}]"
    done = snnlab("data", "prepare", "data=nmnist", "data.root=x", f"data.archives={archive}")
    assert done.status == 2
    assert_error_has(done.error, "data.root")
    assert SECRET not in done.err + done.out


@pytest.mark.long
@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt", "predictions.npz", "split.json", "hot_pixels.json"])
def test_nothing_in_a_run_is_unpickled(
    name: str, trained: Path, digits_store: str, workplace: Path, canary: Path, snnlab: Snnlab
) -> None:
    import pickle
    import shutil

    import torch

    run = Path(shutil.copytree(trained, workplace / "run"))
    (run / "result.json").rename(run / "kept.json") if name == "last.ckpt" else None
    payload = Evil(canary)
    path = run / "checkpoints" / name if name.endswith("ckpt") else run / name
    if name.endswith("ckpt"):
        torch.save({"state_dict": payload}, path)
    elif name.endswith("npz"):
        content = io.BytesIO()
        np.savez(content, test_target=np.array([payload], object))
        path.write_bytes(content.getvalue())
    else:
        path.write_bytes(pickle.dumps(payload))
    store = f"data.store_dir={digits_store}"
    for words in (["evaluate", str(run), store], ["report", str(run)], ["train", f"resume={run}", store]):
        snnlab_status(snnlab, words)
    assert not canary.exists()


def snnlab_status(snnlab: Snnlab, words: list[str]) -> int | None:
    """Return the status of a command; damaged files may give other errors, which are ignored here."""
    try:
        return snnlab(*words).status
    except Exception:
        return None


def test_a_number_out_of_the_environment_is_recorded_as_it_is(theirs: Theirs) -> None:
    theirs({"experiment/nice.yaml": "# @package _global_\nseed: ${oc.decode:${oc.env:TASK}}\n"})
    record = compose_experiment(["experiment=nice"], "theirs")[0].record
    assert record is not None
    assert record["seed"] == 5
