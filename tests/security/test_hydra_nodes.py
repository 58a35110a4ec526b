"""A YAML file cannot configure Hydra in any way."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from snnlab.config.compose import compose_experiment
from snnlab.errors import ConfigError

from ..marks import mostly_long
from ..refusals import assert_error_has
from .conftest import Evil, Outcome

Snnlab = Callable[..., Outcome]
Theirs = Callable[[Mapping[str, str]], Path]

HEAD = "# @package _global_\n"
# Writes the canary when Hydra instantiates it; none of the classes is on Hydra's own list of what it refuses.
WRITES = "{{_target_: pathlib.Path.write_text, _args_: [{{_target_: pathlib.Path, _args_: ['{canary}']}}, ran]}}"


OUTSIDE = "a file outside of the folder"


def nodes(canary: Path) -> dict[str, dict[str, str]]:
    """Return attacks by name, each with its files; `experiment/nice.yaml` is what is trained."""
    node = WRITES.format(canary=canary)
    callbacks = f"hydra:\n  callbacks:\n    evil: {node}\n"
    texts = {
        "callbacks": callbacks,
        "joblib.load": f"hydra: {{callbacks: {{evil: {{_target_: joblib.load, filename: {canary}.pkl}}}}}}\n",
        "sympify": f"hydra: {{callbacks: {{evil: {{_target_: sympy.sympify, a: \"open('{canary}', 'w')\"}}}}}}\n",
        "launcher": f"hydra: {{launcher: {node}}}\n",
        "sweeper": f"hydra: {{sweeper: {node}}}\n",
        "mode": "hydra: {mode: MULTIRUN, sweeper: {params: {seed: '0,1'}}}\n",
        "hydra_logging": "hydra: {hydra_logging: {handlers: {evil: {(): pathlib.Path.touch, self: x}}, version: 1}}\n",
        "job_logging": "hydra: {job_logging: {version: 1, root: {level: DEBUG}}}\n",
        "env_set": "hydra: {job: {env_set: {PYTHONPATH: theirs}}}\n",
        "env_copy": "hydra: {job: {env_copy: [HOME]}}\n",
        "searchpath": "hydra: {searchpath: ['pkg://payload']}\n",
        "overrides": "hydra: {overrides: {task: ['seed=1']}}\n",
        "output_subdir": "hydra: {output_subdir: .hydra}\n",
        "an empty node": "hydra: {}\n",
        "no node": "hydra: null\n",
        "a reference": f"logger: {{callbacks: {{evil: {node}}}}}\nhydra: ${{logger}}\n",
        "a merge key": f"name: x\n<<: {{hydra: {{callbacks: {{evil: {node}}}}}}}\n",
        "an escaped key": f'"\\x68ydra": {{callbacks: {{evil: {node}}}}}\n',
        "another launcher": "defaults:\n  - override /hydra/launcher: basic\n",
    }
    packages = {
        "a package": f"# @package hydra\ncallbacks:\n  evil: {node}\n",
        "a deep package": f"# @package hydra.callbacks\nevil: {node}\n",
    }
    disk = f"{'../' * 40}{str(canary.parent)[1:]}"
    # An entry of the defaults, and the file that it chooses.
    chosen = {
        "a model's package": ("override /model: evil", "model/evil", f"# @package hydra.callbacks.evil\n{node}\n"),
        "a package in the defaults": ("/callbacks@hydra.callbacks: evil", "callbacks/evil", f"evil: {node}\n"),
        "a global package in the defaults": ("/callbacks@_global_: evil", "callbacks/evil", callbacks),
        "a group of Hydra's": ("override /hydra/callbacks: evil", "hydra/callbacks/evil", f"evil: {node}\n"),
        "a file of Hydra's group": ("/hydra/callbacks/evil", "hydra/callbacks/evil", f"evil: {node}\n"),
        OUTSIDE: ("override /callbacks: ../../outside/evil", "../outside/evil", HEAD + callbacks),
        "a file of the whole disk": (f"override /callbacks: {disk}/evil", "../../evil", HEAD + callbacks),
        "a file by its whole path": (f"/{canary.parent}/evil", "../../evil", HEAD + callbacks),
    }
    nice = "experiment/nice.yaml"
    return (
        {name: {nice: HEAD + text} for name, text in texts.items()}
        | {name: {nice: text} for name, text in packages.items()}
        | {
            name: {nice: f"{HEAD}defaults:\n  - {entry}\n", f"{file}.yaml": text}
            for name, (entry, file, text) in chosen.items()
        }
    )


NAMES = list(nodes(Path("canary")))


@pytest.mark.parametrize("name", mostly_long(NAMES, 10))
def test_a_file_that_configures_hydra_is_refused_before_anything_of_it_runs(
    name: str, canary: Path, theirs: Theirs, snnlab: Snnlab, workplace: Path
) -> None:
    theirs(nodes(canary)[name])
    (workplace / "payload").mkdir()
    (workplace / "payload" / "__init__.py").write_text(f"open({str(canary)!r}, 'w')\n")
    Path(f"{canary}.pkl").write_bytes(pickle.dumps(Evil(canary)))
    trained = snnlab("train", "--config-dir", "theirs", "experiment=nice", "mode=nonsense")
    assert trained.status == 2
    assert not canary.exists()
    assert "nonsense" not in trained.err  # that message comes after composing
    assert "Traceback" not in trained.err
    assert sorted(path.name for path in workplace.iterdir()) == sorted(
        {"theirs", "payload", *(["outside"] if name == OUTSIDE else [])}
    )


@pytest.mark.parametrize("name", ["callbacks", "launcher", "a file by its whole path"])
def test_nor_does_anything_of_it_run_in_a_grid_or_from_python(
    name: str, canary: Path, theirs: Theirs, snnlab: Snnlab
) -> None:
    theirs(nodes(canary)[name])
    done = snnlab("train", "-m", "--config-dir", "theirs", "experiment=nice", "mode=nonsense", "seed=0,1")
    assert done.status == 2
    assert "nonsense" not in done.err
    with pytest.raises(ConfigError):
        compose_experiment(["experiment=nice"], "theirs")
    assert not canary.exists()


@pytest.mark.parametrize("name", ["callbacks", "launcher", "a package", "another launcher", "a reference"])
def test_validate_reports_it_too_with_the_file(name: str, canary: Path, theirs: Theirs, snnlab: Snnlab) -> None:
    theirs(nodes(canary)[name])
    done = snnlab("validate", "theirs")
    assert done.status == 2
    assert "ok     experiment/nice.yaml" not in done.out
    assert "nice.yaml" in done.out
    assert not canary.exists()


def test_the_line_of_the_setting_is_named(canary: Path, theirs: Theirs, snnlab: Snnlab) -> None:
    theirs(nodes(canary)["callbacks"])
    done = snnlab("train", "--config-dir", "theirs", "experiment=nice")
    assert_error_has(done.error, "theirs/experiment/nice.yaml:3", 3, "hydra.callbacks")
    assert len(done.err.splitlines()) == 1


def test_each_file_of_a_grid_is_checked(canary: Path, theirs: Theirs, snnlab: Snnlab) -> None:
    theirs({**nodes(canary)["job_logging"], "experiment/good.yaml": HEAD + "seed: 1\n"})
    done = snnlab("train", "-m", "--config-dir", "theirs", "experiment=good,nice", "mode=nonsense")
    assert done.status == 2
    assert_error_has(done.error, "", "hydra.job_logging")
    assert not canary.exists()


def test_output_folders_may_be_set(theirs: Theirs) -> None:
    dirs = "hydra: {run: {dir: 'a/${name}'}, sweep: {dir: b, subdir: c}}\n"
    theirs({"experiment/nice.yaml": HEAD + "name: mine\n" + dirs})
    _, folder = compose_experiment(["experiment=nice"], "theirs")
    assert folder.name == "mine"


@pytest.mark.parametrize(
    "typed",
    [
        ["+callbacks@hydra.callbacks=evil"],
        ["hydra/callbacks=evil"],
        ["+hydra/callbacks=evil"],
        ["callbacks=../../outside/evil"],
    ],
)
def test_a_typed_file_cannot_configure_hydra_either(
    typed: list[str], canary: Path, theirs: Theirs, snnlab: Snnlab
) -> None:
    node = WRITES.format(canary=canary)
    files = {"callbacks/evil.yaml": f"evil: {node}\n", "hydra/callbacks/evil.yaml": f"evil: {node}\n"}
    theirs({**files, "../outside/evil.yaml": HEAD + f"hydra: {{callbacks: {{evil: {node}}}}}\n"})
    done = snnlab("train", "--config-dir", "theirs", *typed, "mode=nonsense")
    assert done.status == 2
    assert "nonsense" not in done.err
    assert not canary.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--config-name", "root"],
        ["--config-path", "{folder}", "--config-name", "root"],
        ["--config-n=root"],
        ["-cp", "{folder}", "-cn", "root"],
        ["--experimental-rerun", "{canary}.pkl"],
        ["--exp", "{canary}.pkl"],
        ["hydra.searchpath=[file://{folder}]", "experiment=nice"],
        ["+hydra.searchpath=[pkg://payload]"],
    ],
)
def test_no_other_root_and_no_pickle_is_taken(
    words: list[str], canary: Path, theirs: Theirs, snnlab: Snnlab, workplace: Path
) -> None:
    evil = f"hydra: {{callbacks: {{evil: {WRITES.format(canary=canary)}}}, searchpath: ['pkg://payload']}}\n"
    folder = theirs({"root.yaml": evil, **nodes(canary)["callbacks"]})
    Path(f"{canary}.pkl").write_bytes(pickle.dumps(Evil(canary)))
    arguments = [word.format(folder=folder, canary=canary) for word in words]
    done = snnlab("train", "--config-dir", "theirs", *arguments, "mode=nonsense")
    assert done.status == 2
    assert "nonsense" not in done.err
    assert not canary.exists()


def test_a_users_program_keeps_its_hydra(tmp_path: Path) -> None:
    import hydra

    (tmp_path / "own.yaml").write_text("hydra: {job: {name: mine}}\nx: 1\n")
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.3"):
        assert hydra.compose("own").x == 1
