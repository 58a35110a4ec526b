"""What pages and comments state about a setting (its name, choices, default) is what its field says."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin

import pytest
import torch
from omegaconf import OmegaConf

from snnlab.cli.kinds import REGISTRIES
from snnlab.cli.list import registry
from snnlab.config.folders import config_folder, groups
from snnlab.config.schema import Experiment
from snnlab.config.trainer_settings import ELSEWHERE, TrainerSettings
from snnlab.data.data_settings import DataSettings
from snnlab.experiments.suite_settings import Suite
from snnlab.experiments.sweep_settings import Prune, Sweep
from snnlab.spec.docstrings import argument_texts, argument_texts_of
from snnlab.spec.field import Field
from snnlab.spec.signatures import fields_of
from snnlab.yaml_files import parse

ROOT = Path(__file__).parents[2]
TRAIN = config_folder() / "train.yaml"
# What a page or a comment writes as code: `data.dt=20`, or a line of a command.
_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.S)
_WORD = re.compile(r"(?<![\w./=$@-])(?P<key>[a-z_]\w*(?:\.[A-Za-z_]\w*)*)=(?P<value>[^\s,;`'\")\]}]+)")
_OR = re.compile(r"(?P<key>[a-z_][\w.]*)=\S+ +# or (?P<value>\w+)")
_MENTION = re.compile(
    r"`(?P<key>(?:data|trainer|sweep|optimizer|scheduler|loss)(?:\.[a-z_]\w*)+)(?<!\.events)(?<!\.yaml)`"
)
# `{type: affine, shift: 2}`, in one line and without nodes in it.
_INLINE = re.compile(r"\{type: (?P<kind>\w+)(?P<settings>(?:, \w+: (?:\[[^\]]*\]|[^,{}\[]+))*)\}")
# Of a layer or a regularizer of any type.
_OF_A_NODE = ("type", "after", "weight")
# Settings beside those of a type or a class, and names of layers, terms and groups.
_BESIDE = (*_OF_A_NODE, "_target_", "groups", "weight_decay_of", "interval", "monitor", "regularizers")
# Settings of commands and of Python, which are no fields of an experiment.
_OTHERS = {"resume", "launcher", "workers", "submitit", "engine", "suite", "methods", "datasets", "hydra", "install"}


@cache
def known_fields() -> dict[str, dict[str, list[Field]]]:
    """Return the fields of the nodes of an experiment, by node and name."""
    found: dict[str, dict[str, list[Field]]] = {}

    def add(node: str, factory: Any) -> None:
        for name, field in fields_of(factory).items():
            found.setdefault(node, {}).setdefault(name, []).append(field)

    for node, factory in (
        *(("", Experiment), ("trainer", TrainerSettings), ("data", DataSettings)),
        *(("sweep", Sweep), ("sweep.prune", Prune), ("suite", Suite)),
    ):
        add(node, factory)
    for kind, node in (
        ("datasets", "data"),
        ("losses", "loss"),
        ("regularizers", "loss.regularizers"),
        ("neurons", "neuron"),
        ("surrogates", "neuron.surrogate"),
        ("layers", "model.layers.NAME"),
        ("surrogates", "model.layers.NAME"),  # in `model.layers.NAME.surrogate`
        ("schedules", "scheduler"),
        ("averages", "weight_averaging"),
        ("targets", "quantize"),
    ):
        for name in registry(kind):
            add(node, registry(kind).get(name, ""))
    for kind, module in (("optimizer", torch.optim), ("scheduler", torch.optim.lr_scheduler)):
        for name in dir(module):
            if isinstance(getattr(module, name), type):
                add(kind, getattr(module, name))
    return found


def pages() -> list[Path]:
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("configs/**/*.yaml")]
    return [path for path in texts if "docs/results/" not in str(path) and path.name != "CHANGELOG.md"]


def code_of(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        return "\n".join(line for line in text.splitlines() if line.lstrip().startswith("#"))
    code = "\n".join(_CODE.findall(text))
    return re.sub(r"^\$ .*\nsnnlab: .*", "", code, flags=re.M)  # a mistake and its answer


def problem_of(key: str, value: str | None) -> str | None:
    """Return why a stated setting does not exist or has no such value, or None; also for what this does not know."""
    node, _, name = key.rpartition(".")
    if (value or "").startswith("{"):
        return None  # a node; another test reads those
    node = re.sub(r"^loss\.regularizers\.\w+$", "loss.regularizers", node)
    head = key.partition(".")[0]
    if head == "model" and node.count(".") >= 2:
        node = "model.layers.NAME"
    known = known_fields().get(node)
    if known is None or head in _OTHERS or (not node and head in groups(config_folder())):
        return None
    if name not in known:
        return None if not node or name in (*ELSEWHERE, *_BESIDE) else "there is no such setting"
    if value is None or re.search(r"[A-Z]{2,}|\.\.\.|[$<>|]", value) or value.startswith(("[", "{")):
        return None
    problems = [field.problem(parse(value).content) for field in known[name]]
    return problems[0] if all(problems) else None


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_setting_that_a_page_states_exists_and_has_the_stated_value(path: Path):
    assert not wrong_in(path)


@pytest.mark.parametrize(
    "key", ["data.num_bins", "neuron.tau_mem", "optimizer.lr", "trainer.max_epochs", "loss.from_step"]
)
def test_a_renamed_setting_fails_every_page_that_names_it(key: str, monkeypatch: pytest.MonkeyPatch):
    node, _, name = key.rpartition(".")
    renamed = {f"{name}_2" if one == name else one: field for one, field in known_fields()[node].items()}
    naming = [path for path in pages() if re.search(rf"(?<![\w.]){key}=\w", code_of(path))]
    assert naming
    known = {**known_fields(), node: renamed}
    monkeypatch.setattr(sys.modules[__name__], "known_fields", lambda: known)
    assert [str(path) for path in naming if not any(one.startswith(key) for one in wrong_in(path))] == []


def wrong_in(path: Path) -> dict[str, str]:
    """Return the settings that a page states and that do not exist or have no such value, with the reason."""
    code = code_of(path)
    stated = {
        (found["key"], found["value"].rstrip(".:"))
        for line in code.splitlines()
        for pattern in (_WORD, _OR)
        for found in pattern.finditer(line.partition("--where")[0])
    }
    mentioned = {(found["key"], None) for found in _MENTION.finditer(path.read_text(encoding="utf-8"))}
    return {f"{key}={value}": problem for key, value in stated | mentioned if (problem := problem_of(key, value))}


@cache
def kinds() -> dict[str, list[dict[str, Field]]]:
    """Return the fields of each registered kind, by its name, which several registries may have."""
    found: dict[str, list[dict[str, Field]]] = {}
    for each in REGISTRIES:
        for name in registry(each):
            found.setdefault(name, []).append(fields_of(registry(each).get(name, "")))
    return found


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_node_that_a_page_states_has_settings_of_its_kind(path: Path):
    wrong = []
    for found in _INLINE.finditer(path.read_text(encoding="utf-8")):
        node = parse(found[0]).content
        kind = node.pop("type")
        settings = {name: value for name, value in node.items() if name not in _OF_A_NODE}
        fits = [
            settings.keys() <= fields.keys() and not any(fields[name].problem(settings[name]) for name in settings)
            for fields in kinds().get(kind, [])
        ]
        if fits and not any(fits):
            wrong.append(found[0])
    assert not wrong


def comments() -> Iterator[tuple[str, str]]:
    """Yield the keys of `train.yaml` and the comments above them."""
    comment: list[str] = []
    for line in TRAIN.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            comment.append(line[2:])
            continue
        if found := re.match(r"(\w+):", line):
            yield found[1], " ".join(comment)
        comment = []


def choices_of(annotation: Any) -> list[str]:
    """Return the words that a field takes, `true` and `false` among them."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    inner = get_args(annotation) or (annotation,)
    return [word for one in inner if one is not annotation for word in choices_of(one)] + (
        ["true", "false"] if bool in inner else []
    )


ROOT_FIELDS = fields_of(Experiment)
CHOICES = {
    name: words for name, field in ROOT_FIELDS.items() if (words := choices_of(field.annotation)) and words[0] != "true"
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_comment_of_a_setting_offers_its_choices_and_no_other(name: str):
    text = re.sub(r" *\([^)]*\)", "", dict(comments())[name])
    # `What it is: a, b or c.`
    sentence = next(one for one in re.split(r"\.(?: |$)", text) if re.search(rf"\b{CHOICES[name][0]}\b", one))
    offered = re.split(r", or |, | or ", sentence.rpartition(": ")[2])
    assert sorted(offered) == sorted({*CHOICES[name]})


def test_the_root_file_has_every_setting_of_an_experiment_with_its_default():
    content = OmegaConf.to_container(OmegaConf.load(TRAIN))
    assert isinstance(content, dict)
    not_written = {"record", "origin", "command", "of_run"}
    own = {one.name: one for one in fields(Experiment) if one.name not in {*groups(config_folder()), *not_written}}
    assert {*content} - {"defaults", "hydra"} == {*own}
    stated = {
        name: (content[name], one.default)
        for name, one in own.items()
        if one.default is not MISSING and name not in ("plots", "monitors")
    }
    assert {name: pair for name, pair in stated.items() if list_of(pair[0]) != list_of(pair[1])} == {}


def list_of(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def arguments_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    found = node.args
    every = (*found.posonlyargs, *found.args, *found.kwonlyargs, found.vararg, found.kwarg)
    return {one.arg for one in every if one is not None}


def documented(text: str) -> Callable[[], None]:
    def function() -> None: ...

    function.__doc__ = text
    return function


@pytest.mark.long
def test_an_argument_that_a_docstring_documents_exists():
    wrong = []
    for path in (ROOT / "snnlab").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            init = node
            if isinstance(node, ast.ClassDef) and path.parent.name == "neurons":
                continue  # a neuron's own arguments are read from its fields
            if isinstance(node, ast.ClassDef):  # one without a constructor may document its fields, or its bases' ones
                init = next((one for one in node.body if getattr(one, "name", "") == "__init__"), None)
            if isinstance(init, ast.FunctionDef | ast.AsyncFunctionDef) and not init.args.kwarg:
                stated = argument_texts(documented(ast.get_docstring(cast(Any, node)) or ""))
                wrong += [f"{path.name}:{init.lineno}: {name}" for name in stated if name not in arguments_of(init)]
    assert not wrong


FIELDS = [
    (f"{each}-{name}", field)
    for each in REGISTRIES
    for name in registry(each)
    for field in fields_of(registry(each).get(name, "")).values()
]
_UNIT = re.compile(r", (ms|us|Hz|mV|1/ms|pixels|degrees|steps|spikes|thresholds)\b")


@pytest.mark.long
def test_a_docstring_states_no_other_unit_choice_or_default_than_the_field():
    wrong = []
    for kind, field in FIELDS:
        choices, text = choices_of(field.annotation), field.help
        if choices and {*re.findall(r"`([\w-]+)`:", text)} - {*choices}:
            wrong.append(f"{kind}.{field.name}: choices")
        if not choices and any(unit not in field.unit for unit in _UNIT.findall(text)):
            wrong.append(f"{kind}.{field.name}: unit")
        for stated in re.findall(r"\b[Dd]efault:? (-?\d[\d.e-]*\d|\d)", text):
            if field.default is not None and float(stated) != field.default:
                wrong.append(f"{kind}.{field.name}: default")
    assert not wrong


@cache
def classes() -> dict[str, ast.ClassDef]:
    """Return all classes by name; no two have one."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "snnlab").rglob("*.py"))
    return {node.name: node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def bases_of(node: ast.ClassDef) -> Iterator[ast.ClassDef]:
    for base in node.bases:
        name = ast.unparse(base).partition("[")[0].rpartition(".")[2]
        if name in classes():
            yield classes()[name]
            yield from bases_of(classes()[name])


@pytest.mark.long
def test_an_argument_that_a_base_documents_is_not_documented_again():
    repeated = [
        f"{node.name}.{name}"
        for node in classes().values()
        for name, text in argument_texts_of(ast.get_docstring(node) or "").items()
        if any(argument_texts_of(ast.get_docstring(base) or "").get(name) == text for base in bases_of(node))
    ]
    assert not repeated


# The mistakes of a user, which say themselves what is wrong, and which nobody handles but the command.
_MISTAKES = re.compile(r"^ *(ConfigError|UnknownSettingError|SnnlabError)\b.*: ", re.M)


@pytest.mark.long
def test_raises_lists_what_a_caller_handles_and_no_mistake_in_a_setting():
    wrong = []
    for path in (ROOT / "snnlab").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                raises = (ast.get_docstring(node) or "").partition("\nRaises:\n")[2]
                private = node.name.startswith("_") and not node.name.startswith("__")
                if raises and (private or _MISTAKES.search(raises)):
                    wrong.append(f"{path.name}:{node.lineno}: {node.name}")
    assert not wrong
