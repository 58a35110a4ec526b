"""Untrusted YAML: no tag runs code, no anchor or reference fills the memory, only allowed targets are built."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from snnlab.config.compose import compose_experiment
from snnlab.errors import ConfigError, SnnlabError
from snnlab.session import Session

from ..marks import mostly_long
from ..refusals import assert_error_has, assert_raises
from .conftest import SHORT, Outcome, edited

Snnlab = Callable[..., Outcome]
Theirs = Callable[[Mapping[str, str]], Path]
HEAD = "# @package _global_\n"


def bomb(levels: int = 9) -> str:
    """Return a YAML of some 400 bytes that expands to 10^levels values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


def chain(levels: int, text: str) -> str:
    """Return settings that each refer twice to the previous one."""
    return "\n".join(["a0: xxxxxxxxxx", *(f"a{n}: {text.format(n - 1)}" for n in range(1, levels))])


BOMBS = {
    "anchors": bomb(),
    "anchors, not so many": bomb(5),
    "merge keys": "a0: &a0 {x: 1}\n"
    + "\n".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 9)),
    "mappings": "a0: &a0 {x: 1, y: 1}\n"
    + "\n".join(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}" for n in range(1, 30)),
    "a text that is yaml": '"{' + bomb().replace("\n", ", ") + '}"',
    "an anchor in itself": "a: &a [*a]",
    "depth": "a: " + "[" * 5000 + "]" * 5000,
    "dashes": "a:\n  " + "- " * 5000 + "x",
    "a number of base 60": "seed: 1" + ":1" * 4000,
    "a number that cannot be printed": "seed: 0x" + "f" * 5000,
    "a number by its tag": "seed: !!int '" + "1" * 5000 + "'",
    "texts by reference": chain(40, "'${{a{0}}}${{a{0}}}'"),
    "nodes by reference": chain(40, "{{x: '${{a{0}}}', y: '${{a{0}}}'}}"),
    "nodes by a resolver": chain(40, "['${{oc.select:a{0}}}', '${{oc.select:a{0}}}']"),
    "a name by reference": "name: ${a30}\n" + chain(31, "'${{a{0}}}${{a{0}}}'"),
}


@pytest.mark.parametrize("name", mostly_long(list(BOMBS), 5))
def test_a_small_file_that_becomes_a_large_one_is_refused_at_once(name: str, theirs: Theirs, snnlab: Snnlab) -> None:
    content = BOMBS[name] if name == "a text that is yaml" else HEAD + BOMBS[name]
    theirs({"experiment/nice.yaml": content + "\n"})
    began = time.process_time()
    for words in (["validate", "theirs"], ["train", "--config-dir", "theirs", "experiment=nice"]):
        done = snnlab(*words)
        assert done.status == 2, done.err
        assert "Traceback" not in done.err
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((kind, "anchors") for kind in ("config.yaml", "sweep.yaml", "suite.yaml", "group/sweep", "group/suite")),
        ("config.yaml", "a text that is yaml"),
        ("suite.yaml", "depth"),
    ],
)
def test_so_is_a_record_or_a_file_of_another_command(
    kind: str, name: str, theirs: Theirs, workplace: Path, snnlab: Snnlab
) -> None:
    _, _, own = kind.partition("/")
    place = f"{own}/nice.yaml" if own else kind
    folder = theirs({place: BOMBS[name] + "\n"})
    commands = {
        "config.yaml": [["report", str(folder)], ["show", str(folder)], ["bench", "compare", str(folder), str(folder)]],
        "sweep.yaml": [["report", str(folder)], ["sweep", f"resume={folder}"]],
        "suite.yaml": [["report", str(folder)], ["bench", "table", str(folder)]],
        "group/sweep": [["sweep", "sweep=nice", "--config-dir", str(folder)], ["validate", str(folder)]],
        "group/suite": [["bench", "suite=nice", "--config-dir", str(folder)], ["validate", str(folder)]],
    }
    began = time.process_time()
    for words in commands[kind]:
        done = snnlab(*words)
        assert done.status == 2, (words, done.out)
        assert "Traceback" not in done.err
    assert time.process_time() - began < 10


@pytest.mark.long
def test_references_of_a_record_are_bounded_too(trained: Path, workplace: Path, snnlab: Snnlab) -> None:
    many = {"a0": "x" * 10, **{f"a{n}": f"${{optimizer.a{n - 1}}}" * 2 for n in range(1, 40)}}
    run = edited(trained, workplace / "run", {"optimizer": many, "name": "${optimizer.a39}"})
    for words in (["report", str(run)], ["evaluate", str(run)]):
        done = snnlab(*words)
        assert done.status == 2
        assert_error_has(done.error, "name", "more")
    assert snnlab("runs", "list", ".").status == 0


def test_a_large_file_without_anchors_is_read(tmp_path: Path) -> None:
    from snnlab.yaml_files import MAX_BYTES, read_yaml

    (tmp_path / "a.yaml").write_text("a: &a [1, 2, 3]\nb: [*a, *a]\nlist: [" + ", ".join(["1"] * 20_000) + "]\n")
    read_yaml(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("# " + "x" * MAX_BYTES)
    with assert_raises(ConfigError, "b.yaml", "larger"):
        read_yaml(tmp_path / "b.yaml")


TAGS = (
    "!!python/object/apply:os.system ['touch {canary}']",
    "!!python/object/new:os.system ['touch {canary}']",
    "!!python/object/apply:builtins.open ['{canary}', w]",
    "!!python/name:os.system",
    "!!python/module:antigravity",
    "!!python/object:snnlab.config.schema.Experiment {{}}",
    "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch {canary}']",
)


@pytest.mark.parametrize("tag", TAGS)
def test_no_tag_makes_an_object(tag: str, theirs: Theirs, canary: Path, snnlab: Snnlab) -> None:
    from snnlab.yaml_files import read_yaml

    value = tag.format(canary=canary)
    folder = theirs({"experiment/nice.yaml": f"{HEAD}name: {value}\n", "config.yaml": f"data: {value}\n"})
    for words in (["train", "--config-dir", "theirs", "experiment=nice"], ["show", str(folder)]):
        assert snnlab(*words).status == 2
    with pytest.raises((yaml.YAMLError, SnnlabError)):
        read_yaml(folder / "config.yaml")
    assert not canary.exists()


NESTED = "{_target_: pathlib.Path.write_text, _args_: [{_target_: pathlib.Path, _args_: ['CANARY']}, x]}"
TARGETS = {
    "a function": "optimizer: {_target_: torch.optim.Adam.__init__}",
    "a function of a module": "optimizer: {_target_: torch.optim._functional.adam}",
    "a class of another kind": "optimizer: {_target_: torch.optim.lr_scheduler.StepLR, step_size: 1}",
    "a module's import": "optimizer: {_target_: torch.optim.optimizer.Path}",
    "another module": "optimizer: {_target_: os.system, command: touch CANARY}",
    "a module of ours": "optimizer: {_target_: snnlab.cli.runs.delete}",
    "a name that climbs": "optimizer: {_target_: torch.optim..os.system}",
    "a longer name": "optimizer: {_target_: torch.optimus.Adam}",
    "a builtin": "optimizer: {_target_: builtins.eval}",
    "no text": "optimizer: {_target_: [os.system]}",
    "nested in a setting": f"optimizer: {{_target_: torch.optim.Adam, lr: {NESTED}}}",
    "nested in a list": f"optimizer: {{_target_: torch.optim.Adam, betas: [{NESTED}, {NESTED}]}}",
    "partial": "optimizer: {_target_: torch.optim.Adam, _partial_: true}",
    "converted": "optimizer: {_target_: torch.optim.Adam, _convert_: object}",
    "arguments": "optimizer: {_target_: torch.optim.Adam, _args_: [1]}",
    "recursive": "optimizer: {_target_: torch.optim.Adam, _recursive_: true}",
    "a scheduler": "scheduler: {_target_: os.system, command: touch CANARY}",
    "a scheduler's function": f"scheduler: {{_target_: torch.optim.lr_scheduler.LambdaLR, lr_lambda: {NESTED}}}",
    "a trainer": "trainer: {_target_: subprocess.Popen, args: [touch, CANARY]}",
    "a profiler": f"trainer: {{profiler: {NESTED}}}",
    "a strategy": f"trainer: {{strategy: {NESTED}}}",
    "the trainer's plugins": f"trainer: {{plugins: [{NESTED}]}}",
    "the trainer's loggers": f"trainer: {{logger: [{NESTED}]}}",
    "the trainer's callbacks": f"trainer: {{callbacks: [{NESTED}]}}",
    "a logger": "logger: {x: {_target_: pathlib.Path, x: CANARY}}",
    "a logger that is a list": f"logger: [{NESTED}]",
    "a callback": "callbacks: {x: {_target_: lightning.pytorch.trainer.Trainer}}",
    "a callback's function": "callbacks: {x: {_target_: lightning.pytorch.callbacks.LambdaCallback, setup: "
    + NESTED
    + "}}",
    "an object of a callback": "callbacks: {x: {_target_: lightning.pytorch.callbacks.ModelCheckpoint,"
    + f" train_time_interval: {NESTED}}}}}",
    "a callback's object of Lightning": "callbacks: {x: {_target_: lightning.pytorch.callbacks.ModelCheckpoint,"
    + " train_time_interval: {_target_: lightning.pytorch.cli.LightningCLI}}}",
    "a callback's module": "callbacks: {x: {_target_: lightning.pytorch.callbacks.ModelCheckpoint,"
    + " train_time_interval: {_target_: datetime.sys.exit}}}",
    "an object of an object": "callbacks: {x: {_target_: lightning.pytorch.callbacks.RichProgressBar, theme: {_target_:"
    + f" lightning.pytorch.callbacks.progress.rich_progress.RichProgressBarTheme, metrics: {NESTED}}}}}}}",
    "a schedule of a schedule": "scheduler: {_target_: torch.optim.lr_scheduler.SequentialLR, milestones: [1],"
    + f" schedulers: [{{_target_: os.system, command: touch CANARY}}, {NESTED}]}}",
    "a profiler's class": "trainer: {profiler: {_target_: lightning.pytorch.cli.LightningCLI}}",
    "a profiler's object": "trainer: {profiler: {_target_: lightning.pytorch.profilers.PyTorchProfiler,"
    + f" schedule: {NESTED}}}}}",
    "an object of a logger": f"logger: {{x: {{_target_: lightning.pytorch.loggers.CSVLogger, prefix: {NESTED}}}}}",
    "a module of a plugin": "plugins: [os]\ncallbacks: {x: {_target_: os.system, command: touch CANARY}}",
    "a loss": f"loss: {NESTED}",
    "a layer": f"model: {{layers: {{evil: {NESTED}}}}}",
    "a layer's type": "model: {layers: {evil: {type: os.system}}}",
    "data": "data: {type: os.system}",
    "an augmentation": "data: {augment: [{type: os.system, command: touch CANARY}]}",
    "a transform of tonic": "data: {augment: [{type: tonic.transforms.Compose, transforms: [x]}]}",
    "an average": f"average: {NESTED}",
    "an initialization": "model: {init: {type: os.system}}",
}


# Every fourth place in the quick half.
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if number % 4 else ()) for number, name in enumerate(TARGETS)]
)
def test_only_allowed_targets_are_built(
    name: str, theirs: Theirs, canary: Path, digits_store: str, snnlab: Snnlab, workplace: Path
) -> None:
    theirs({"experiment/nice.yaml": f"{HEAD}{TARGETS[name].replace('CANARY', str(canary))}\n"})
    where = ["--config-dir", "theirs", "experiment=nice", f"data.store_dir={digits_store}"]
    done = snnlab("train", *where, *SHORT)
    assert done.status in (1, 2), done.out
    assert not canary.exists()
    assert not (workplace / "outputs").exists(), "an error before the training leaves no files"
    assert not any(path.suffix == ".runs" for path in workplace.iterdir())


def test_a_module_of_the_users_folder_is_no_part_of_an_allowed_one(
    theirs: Theirs, canary: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(workplace)
    theirs({"torch/optim/evil.py": f"open({str(canary)!r}, 'w')\nclass Evil: pass\n"})
    for name in ("torch.optim.evil.Evil", "theirs.torch.optim.evil.Evil"):
        experiment, _ = compose_experiment([f"optimizer._target_={name}"], None)
        with pytest.raises(SnnlabError):
            Session(experiment).build("optimization")
    assert not canary.exists()
