"""The folder or the file of a search or a suite runs no code, and opens, writes and reveals nothing."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from snnlab.errors import ConfigError, RunFolderError
from snnlab.experiments.cli import sweep
from snnlab.experiments.cli.bench_suite import plan_suite, read_bench_request
from snnlab.experiments.search_plan import SearchPlan
from snnlab.experiments.session.experiment_files import read_suite
from snnlab.experiments.space import Space
from snnlab.experiments.study import SearchStudy

from ...refusals import assert_error_has, assert_raises, assert_text_has
from ...security.conftest import SHORT, Outcome

pytestmark = pytest.mark.long  # each attack in every command

Snnlab = Callable[..., Outcome]
Theirs = Callable[[Mapping[str, str]], Path]
SPACE = "sweep.space={optimizer.lr: {low: 0.001, high: 0.1}}"
SEARCH = (*SHORT, SPACE, "sweep.trials=2", "sweep.engine=here")
SECRET = "hunter2secret"


def begun(folder: Path, *more: str) -> SearchPlan:
    """Return a search that has written its plan and has no trial yet."""
    plan = sweep._new_plan([*SEARCH, f"output_dir={folder}", *more], None)
    plan.write()
    return plan


def edited(plan: SearchPlan, changes: Mapping[str, Any]) -> Path:
    page = yaml.safe_load((plan.folder / "sweep.yaml").read_text())
    for key, value in changes.items():
        (page["sweep"] if key not in page else page)[key] = value
    (plan.folder / "sweep.yaml").write_text(yaml.safe_dump(page))
    return plan.folder


def study_of(plan: SearchPlan, trials: int = 0) -> None:
    """Give a search a study with trials that have ended."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = f"sqlite:///{plan.folder / 'study.db'}"
    study = optuna.create_study(storage=url, study_name=plan.folder.name, direction="minimize")
    for number in range(trials):
        trial = study.ask({"optimizer.lr": optuna.distributions.FloatDistribution(0.001, 0.1)})
        study.tell(trial, float(number))


@pytest.mark.parametrize("command", ["sweep", "bench"])
def test_no_password_is_taken_in_an_override_of_a_search_or_a_suite(
    command: str, workplace: Path, snnlab: Snnlab
) -> None:
    words = [SPACE] if command == "sweep" else ["suite=smoke"]
    done = snnlab(command, *words, f"logger.mlflow.tracking_uri=http://me:{SECRET}@host")
    assert done.status == 2
    assert SECRET not in done.err
    assert_error_has(done.error, "logger.mlflow.tracking_uri=http://me:***@host", "oc.env")
    assert not list(workplace.iterdir())


def test_a_study_or_a_picture_that_is_a_link_is_not_read(workplace: Path, snnlab: Snnlab) -> None:
    with sqlite3.connect(workplace / "private.db") as private:
        private.execute("create table private (x)")
    (workplace / "id_rsa").write_text(SECRET)
    for number, (name, target) in enumerate({"study.db": "private.db", "plots/slice_x.png": "id_rsa"}.items()):
        plan = begun(workplace / str(number))
        (plan.folder / name).parent.mkdir(exist_ok=True)
        (plan.folder / name).symlink_to(workplace / target)
        before = (workplace / "private.db").read_bytes()
        done = snnlab("report", str(plan.folder))
        assert done.status == 2, name
        assert_error_has(done.error, plan.folder / name, "link")
        assert not (plan.folder / "report.html").exists()
        assert (workplace / "private.db").read_bytes() == before


def test_a_search_that_was_moved_goes_on_where_all_of_it_is_named_again(workplace: Path, snnlab: Snnlab) -> None:
    plan = begun(workplace / "before")
    folder = workplace / "after"
    shutil.move(plan.folder, folder)
    done = snnlab("sweep", f"resume={folder}")
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert_text_has(line, "repeat")
    assert "model=mlp_lif" in line
    assert "sweep.space=" in line
    words = [*SEARCH, f"output_dir={workplace / 'before'}"]
    again = sweep._resumed_plan([str(folder)], words, None)
    assert (again.folder, again.working_folder, again.common) == (folder, str(Path.cwd()), plan.common)
    for other in (["sweep.seed=1"], ["sweep.sampler=random"], ["trainer.max_epochs=3"], ["seed=5"]):
        with assert_raises(ConfigError, "work/after", "differ"):
            sweep._resumed_plan([str(folder)], [*words, *other], None)


@pytest.mark.parametrize(
    "changes",
    [
        {"overrides": ["plugins=[theirs.evilmod]"]},
        {"overrides": ["+hydra.searchpath=[pkg://theirs]"]},
        {"place": "{theirs}"},
        {"config_dir": "{theirs}", "overrides": ["experiment=nice"]},
        {"storage": "sqlite:///{theirs}/outside.db"},
        {"submitit": {"slurm_setup": ["touch {canary}"]}, "engine": "submitit"},
        {"space": {"plugins": [["theirs.evilmod"]]}},
    ],
    ids=str,
)
def test_a_foreign_search_does_not_resume_by_itself(
    changes: Mapping[str, Any], workplace: Path, canary: Path, theirs: Theirs, snnlab: Snnlab
) -> None:
    code = f"open({str(canary)!r}, 'w').close()\n"
    folder = theirs({"evilmod.py": code, "__init__.py": code, "sitecustomize.py": code})
    settings = json.loads(json.dumps(changes).replace("{theirs}", str(folder)).replace("{canary}", str(canary)))
    plan = begun(workplace / "out")
    edited(plan, settings)
    before = sorted(os.listdir(plan.folder))
    here = os.getcwd()
    done = snnlab("sweep", f"resume={plan.folder}")
    assert done.status == 2
    assert_error_has(done.error, plan.folder, "repeat")
    assert os.getcwd() == here
    assert sorted(os.listdir(plan.folder)) == before
    assert not (folder / "outside.db").exists()
    assert not canary.exists()


def test_a_study_that_proposes_other_settings_is_refused(workplace: Path) -> None:
    plan = begun(workplace)
    for values in ({"plugins": ["evilmod"]}, {"optimizer.lr": 0.01, "hydra.run.dir": "/x"}):
        with assert_raises(RunFolderError, plan.folder, "searched"):
            plan.task("trials/000", values, 1)
        with assert_raises(RunFolderError, plan.folder, "searched"):
            plan.trial_overrides(values)


@pytest.mark.parametrize(
    "name",
    [
        "plugins",
        "+plugins",
        "++plugins",
        "plugins.0",
        "hydra.callbacks.x",
        "+hydra.launcher",
        "hydra/launcher",
        "model@hydra.callbacks",
        "seed plugins",
        "a=1,plugins",
    ],
)
def test_code_is_no_setting_to_search(name: str) -> None:
    with assert_raises(ConfigError, f"sweep.space.{name}", "searched"):
        Space.parse({name: [1, 2]})
    assert list(Space.parse({"model.layers.plugins_x.hydra_net": [1, 2]}).parameters)


SUITE = "methods:\n  a: {method}\ndatasets:\n  digits: {dataset}\nseeds: [0]\ncommon: {common}\n"


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("plugins=[theirs.evilmod]", "method"),
        ("plugins=[theirs.evilmod]", "dataset"),
        ("plugins=[theirs.evilmod]", "common"),
        ("+plugins=[theirs.evilmod]", "method"),
        ("++plugins=[theirs.evilmod]", "dataset"),
        ("hydra.callbacks.x=1", "common"),
        ("+hydra.searchpath=[pkg://theirs]", "method"),
        ("hydra/launcher=basic", "dataset"),
        ("+callbacks@hydra.callbacks=evil", "common"),
    ],
)
def test_the_file_of_a_suite_names_no_code(
    override: str, part: str, theirs: Theirs, canary: Path, snnlab: Snnlab, workplace: Path
) -> None:
    blocks = {"method": "[]", "dataset": "[]", "common": "[]", part: f"['{override}']"}
    theirs({"suite/nice.yaml": SUITE.format(**blocks), "evilmod.py": f"open({str(canary)!r}, 'w').close()\n"})
    for words in (["bench", "suite=nice", "--config-dir", "theirs"], ["validate", "theirs"]):
        done = snnlab(*words)
        assert done.status == 2
        assert override in done.out + done.err
    assert sorted(path.name for path in workplace.iterdir()) == ["theirs"]
    assert not canary.exists()


@pytest.mark.parametrize(
    "queue",
    [
        "slurm_setup: ['touch {canary}']",
        "setup: ['touch {canary}']",
        "local_setup: ['touch {canary}']",
        "slurm_srun_args: ['--prolog={canary}']",
        "slurm_additional_parameters: {{wrap: 'touch {canary}'}}",
        "slurm_python: '{canary}'",
        'slurm_partition: "gpu\\ntouch {canary}"',
        "slurm_partition: '$(touch {canary})'",
        "slurm_comment: x",
    ],
)
def test_no_file_has_a_queue_run_anything(queue: str, theirs: Theirs, canary: Path, snnlab: Snnlab) -> None:
    engine = f"engine: submitit\nsubmitit: {{{queue.format(canary=canary)}}}\n"
    files = {
        "sweep/nice.yaml": f"space: {{optimizer.lr: [0.1, 0.2]}}\n{engine}",
        "suite/nice.yaml": SUITE.format(method="[]", dataset="[]", common="[]") + engine,
    }
    folder = theirs(files)
    for words in (["sweep", "sweep=nice"], ["bench", "suite=nice"], ["bench", "suite=nice", "--dry-run"]):
        done = snnlab(*words, "--config-dir", "theirs")
        assert done.status == 2
        key = f"{'sweep' if words[0] == 'sweep' else 'suite'}.submitit.{queue.partition(':')[0]}"
        assert_error_has(done.error, key, "queue")
    assert snnlab("validate", "theirs").out.count(f"submitit.{queue.partition(':')[0]}: ") == 2
    assert not canary.exists()
    plain = "{cluster: slurm, slurm_partition: gpu, gpus_per_node: 1, timeout_min: 240, slurm_gres: 'gpu:a100:1'}"
    (folder / "suite" / "good.yaml").write_text(f"submitit: {plain}\n")
    assert read_suite("good", folder)["submitit"]["slurm_gres"] == "gpu:a100:1"


def test_runs_named_only_in_the_folder_of_a_suite_are_not_trained(workplace: Path, theirs: Theirs) -> None:
    theirs({"suite/nice.yaml": SUITE.format(method="[neuron=lif]", dataset="[]", common="[]")})
    words = ["suite=nice", f"folder={workplace / 'suite'}"]
    wanted = read_bench_request(words, "theirs")
    plan, run_specs = plan_suite(wanted, "")
    page = {"schema": 1, **plan.to_dict()}
    page["methods"]["evil"] = {**page["methods"]["a"], "overrides": ["plugins=[theirs.evilmod]"]}
    page["datasets"] = {"digits": [], "theirs": ["plugins=[theirs.evilmod]"]}
    (plan.folder / "runs" / "digits" / "a" / "0").mkdir(parents=True)
    (plan.folder / "runs" / "digits" / "a" / "0" / "config.yaml").write_text("")
    (plan.folder / "suite.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(page, default=list))))
    again, trained = plan_suite(wanted, "")
    assert set(again.suite.methods) == {"a", "evil"}
    assert [(cell.dataset, cell.method) for cell in trained] == [(cell.dataset, cell.method) for cell in run_specs]
    page["datasets"]["digits"] = ["plugins=[theirs.evilmod]"]
    (plan.folder / "suite.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(page, default=list))))
    with assert_raises(ConfigError, "work/suite", "settings"):
        plan_suite(wanted, "")


def test_the_values_of_a_study_are_only_compared_with_a_foreign_space(workplace: Path) -> None:
    """A study with a foreign trial whose settings are not those of the search."""
    import optuna

    plan = begun(workplace)
    url = f"sqlite:///{plan.folder / 'study.db'}"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=url, study_name=plan.folder.name, direction="minimize")
    study.set_user_attr(
        "snnlab", {"schema": 1, "space": dict(plan.sweep.space), "objectives": [["val/loss", "minimize"]]}
    )
    plugins = optuna.distributions.CategoricalDistribution(['json:["evilmod"]'])
    study.add_trial(
        optuna.trial.create_trial(params={"plugins": 'json:["evilmod"]'}, distributions={"plugins": plugins}, value=0.0)
    )
    from snnlab.experiments.winner import _select_finalists

    with assert_raises(RunFolderError, plan.folder, "searched"):
        _select_finalists(plan, SearchStudy(plan.folder, plan.sweep, plan.space, {}))
