"""Untrusted texts are shown safely in terminals, spreadsheets and pages."""

from __future__ import annotations

import csv
import io
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from snnlab.console import console_logging, table_console

from ..refusals import assert_error_has, assert_text_has
from .conftest import SHORT, Outcome, edited

pytestmark = pytest.mark.long  # each text in every command

Snnlab = Callable[..., Outcome]
Theirs = Callable[[Mapping[str, str]], Path]
CLEAR, TITLE, TURNED = "\x1b[2J\x1b[H", "\x1b]0;owned\x07", "\u202egnp.exe"
HIDDEN = ("\x1b", "\x07", "\x9b", "\x08", "\r", "\u202e")


def acts(done: Outcome) -> bool:
    return any(one in done.out + done.err for one in HIDDEN)


def recordings(root: Path, *names: str) -> list[str]:
    rng = np.random.default_rng(0)
    for name in names:
        for number in range(6):
            path = root / name / f"{number}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            columns = (rng.integers(0, 8, 50), rng.integers(0, 8, 50), np.sort(rng.integers(0, 90, 50)), np.zeros(50))
            np.save(path, np.stack(columns, 1).astype(np.int64))
    settings = ("data.sensor_size=[8,8,2]", "data.num_classes=2", "data.duration_ms=100", "data.time_unit=ms")
    return ["data=folder", f"data.root={root}", *settings]


@pytest.mark.parametrize(
    ("name", "command"),
    [
        *((name, ["data", "inspect"]) for name in (f"a{CLEAR}", f"a{TITLE}", f"a{TURNED}", "a\nb", "a\x9b2J", "a\r")),
        *((f"a{CLEAR}", command) for command in (["train"], ["doctor"])),
    ],
)
def test_a_class_that_a_terminal_would_act_on_is_refused(
    name: str, command: list[str], workplace: Path, snnlab: Snnlab
) -> None:
    words = recordings(workplace / "theirs", name, "b")
    done = snnlab(*command, *words, *(SHORT if command != ["data", "inspect"] else ()), "data.store_dir=store")
    assert done.status == 2
    assert_error_has(done.error, "data.root", "characters")
    assert not acts(done)


@pytest.mark.parametrize("column", ["label", "value_x"])
def test_a_table_names_no_such_class_either(column: str, workplace: Path, snnlab: Snnlab) -> None:
    words = recordings(workplace / "theirs", "b")
    head = f"path,{column}" if column == "label" else f"path,value_x{CLEAR},value_y"
    rows = [f"b/{n}.npy,{f'a{CLEAR}' if column == 'label' else '1,2'}" for n in range(6)]
    (workplace / "theirs" / "labels.csv").write_text("\n".join([head, *rows]))
    targets = ["data.targets=value", "loss=mse"] if column == "value_x" else []
    done = snnlab("data", "inspect", *words, "data.labels=labels.csv", *targets, "data.store_dir=store")
    assert done.status == 2
    assert not acts(done)


def test_texts_of_a_run_are_shown_escaped(trained: Path, digits_store: str, workplace: Path, snnlab: Snnlab) -> None:
    run = edited(trained, workplace / "runs" / f"run{TITLE}", {"name": f"name{CLEAR}", f"optimizer.a{CLEAR}": TITLE})
    split = json.loads((run / "split.json").read_text())
    (run / "split.json").write_text(json.dumps({**split, "classes": [f"{n}{CLEAR}" for n in range(10)]}))
    page = json.loads((run / "result.json").read_text())
    page["metrics"][f"test/{TITLE}"] = 0.5
    (run / "result.json").write_text(
        json.dumps({**page, "control": CLEAR, "error": TITLE, "status": f"completed{CLEAR}"})
    )
    head, *rows = (run / "metrics.csv").read_text().splitlines()
    (run / "metrics.csv").write_text("\n".join([f"{head},x{TURNED}", *(f"{row},1" for row in rows)]))
    np.save(workplace / "one.npy", np.zeros((4, 4), np.int64))
    shown = [
        snnlab("predict", str(run), "one.npy", "name=x"),
        snnlab("predict", str(run), "one.npy", "--format", "jsonl"),
        snnlab("show", str(run)),
        snnlab("runs", "list", "runs"),
        snnlab("runs", "compare", str(run), str(trained)),
        snnlab("bench", "compare", str(run), str(trained)),
        snnlab("bench", "table", "runs"),
        snnlab("evaluate", str(run), f"data.store_dir={digits_store}"),
        snnlab("report", str(run), "--out", "page.html"),
        snnlab("report", "runs", "--out", "pages.html"),
    ]
    assert not any(acts(done) for done in shown)
    assert not any("Traceback" in done.err for done in shown)
    for name in ("page.html", "pages.html"):
        assert not any(one in (workplace / name).read_text() for one in HIDDEN if one != "\r"), name


def test_an_experiment_with_such_names_is_refused(theirs: Theirs, snnlab: Snnlab) -> None:
    texts = {
        "name": 'name: "a\\e[2J"',
        r"model.layers.l\x1b[2J.type": 'model: {layers: {"l\\e[2J": {type: lif}}}',
        "logger.x._target_": 'logger: {x: {_target_: "a\\u202e"}}',
    }
    for number, (place, text) in enumerate(texts.items()):
        theirs({f"experiment/e{number}.yaml": f"# @package _global_\n{text}\n"})
        done = snnlab("show", "--config-dir", "theirs", f"experiment=e{number}")
        assert done.status == 2
        assert_error_has(done.error, place, "characters")
        assert not acts(done)


def test_a_foreign_file_is_listed_escaped(theirs: Theirs, snnlab: Snnlab) -> None:
    theirs({"model/net.yaml": f"# snnlab train model=net\n# words {CLEAR}{TITLE}\nlayers: {{}}\n"})
    for words in (["list", "models"], ["list", "models", "net"], ["list"]):
        done = snnlab(*words, "--config-dir", "theirs")
        assert not acts(done)


def test_every_message_is_shown_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    console_logging()
    logging.getLogger("snnlab.x").warning("a%sb", CLEAR)
    table_console().print(f"a{TITLE}b")
    captured = capsys.readouterr()
    assert "a\\x1b[2J" in captured.err
    assert "a\\x1b]0;owned\\x07b" in captured.out
    assert "\x1b" not in captured.err + captured.out


@pytest.mark.long  # four processes
def test_names_of_folders_and_commands_are_shown_escaped(trained: Path, workplace: Path) -> None:
    def run(*words: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "snnlab", *words]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        return done.returncode, done.stdout.decode()

    theirs = workplace / "d" / f"x{TITLE}{CLEAR}"
    shutil.copytree(trained, theirs / "run")
    shutil.copytree(trained, theirs / "damaged")
    (theirs / "damaged" / "result.json").write_text("{")
    found = {
        "runs": run("runs", "d"),
        "report": run("report", str(theirs / "run")),
        "missing": run("report", f"nowhere{CLEAR}"),
        f"{CLEAR}train": run(f"{CLEAR}train"),
    }
    assert {name: status for name, (status, _) in found.items()} == {
        "runs": 0,
        "report": 0,
        "missing": 2,
        f"{CLEAR}train": 2,
    }
    for _, said in found.values():
        assert "\\x1b" in said
        assert not any(one in said for one in HIDDEN)
    assert "damaged" in found["runs"][1]


def test_letters_of_all_scripts_stay() -> None:
    from snnlab.printable import is_printable, printable

    persian, woman = "\u0645\u06cc\u200c\u062e\u0648", "\U0001f469\u200d\U0001f52c"
    for name in ("Größe", "数字", persian, woman, "a b\u00a0c\u3000d", "−1", "$_$"):
        assert is_printable(name)
        assert printable(name) == name
    assert printable("a\tb\n", "\n\t") == "a\tb\n"
    assert printable("\udcff\u2028") == "\\udcff\\u2028"
    assert printable("a\u200bb\ufeffc\u2060d\u00ade") == "a\\u200bb\\ufeffc\\u2060d\\xade"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("\t=1", "'\t=1"),
        ("-0.5", "-0.5"),
        ("+1e-3", "+1e-3"),
        (-0.5, -0.5),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_a_formula_becomes_a_text(value: object, shown: object) -> None:
    from snnlab.printable import csv_cell

    assert csv_cell(value) == shown


def test_answers_as_csv_hold_no_formulas(trained: Path, workplace: Path, snnlab: Snnlab) -> None:
    run = Path(shutil.copytree(trained, workplace / "run"))
    split = json.loads((run / "split.json").read_text())
    (run / "split.json").write_text(json.dumps({**split, "classes": ["=HYPERLINK(1)"] * 5 + ["@x"] * 5}))
    np.save(workplace / "=cmd.npy", np.sort(np.random.default_rng(0).integers(0, 2, (4000, 4)), 0))
    done = snnlab("predict", str(run), "=cmd.npy")
    assert done.status == 0, done.err
    (row,) = csv.DictReader(io.StringIO(done.out))
    assert row["name"] in ("'=HYPERLINK(1)", "'@x")
    assert row["file"] == "'=cmd.npy"
    (line,) = snnlab("predict", str(run), "=cmd.npy", "--format", "jsonl").out.splitlines()
    assert json.loads(line)["file"] == "=cmd.npy"


MARKUP = "<script>alert(1)</script>"
QUOTE = "\"'><img src=x onerror=alert(1)>"


def test_no_text_of_a_run_is_markup_in_its_page(trained: Path, workplace: Path, snnlab: Snnlab) -> None:
    run = edited(
        trained,
        workplace / f"run {QUOTE.replace('/', '')}",
        {"name": MARKUP, f"optimizer.{QUOTE}": MARKUP, "loss.note": f"javascript:{QUOTE}"},
    )
    split = json.loads((run / "split.json").read_text())
    (run / "split.json").write_text(json.dumps({**split, "classes": [f"{MARKUP}{n}" for n in range(10)]}))
    page = json.loads((run / "result.json").read_text())
    page["metrics"] = {**page["metrics"], f"test/rate_hz/{MARKUP}": 1.0, QUOTE: 2.0}
    page["provenance"] = {**page["provenance"], MARKUP: QUOTE, "git": {"commit": MARKUP, "dirty": QUOTE}}
    page["selection"] = {**page["selection"], "rule": MARKUP, "val_rule": QUOTE}
    (run / "result.json").write_text(json.dumps({**page, "error": MARKUP, "control": QUOTE, "search": {MARKUP: QUOTE}}))
    head, *rows = (run / "metrics.csv").read_text().splitlines()
    (run / "metrics.csv").write_text("\n".join([f"{head},{MARKUP}", *(f"{row},1" for row in rows)]))
    for words in (["report", str(run), "--out", "one.html"], ["report", ".", "--out", "all.html"]):
        done = snnlab(*words)
        assert done.status == 0, done.err
        found = Markup((workplace / words[-1]).read_text())
        assert not {name for attributes in found.attributes for name in attributes if name.startswith("on")}
        assert not [text for text in found.scripts if "alert" in text]
        assert words[-1] == "all.html" or MARKUP in found.text


class Markup(HTMLParser):
    """The markup of a page, as a browser parses it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[dict[str, str | None]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "script":
            self.scripts.append(data)
        self.text += data


def test_percent_and_braces_in_names_are_only_letters(theirs: Theirs, snnlab: Snnlab) -> None:
    theirs(
        {"experiment/e.yaml": "# @package _global_\nname: '%s%n{0.__class__}{experiment}'\nneuron: {tau_mem: '%d%s'}\n"}
    )
    done = snnlab("show", "--config-dir", "theirs", "experiment=e")
    assert done.status == 2
    assert_error_has(done.error, "neuron.tau_mem", "%d%s")


def test_names_of_files_are_shown_too(workplace: Path, theirs: Theirs, snnlab: Snnlab) -> None:
    theirs({f"model/a{CLEAR}.yaml": "layers: 3\n", f"models{TITLE}/b.yaml": ""})
    assert not acts(snnlab("validate", "theirs"))
    words = recordings(workplace / "own", "a", "b")
    for name in (f"bad{CLEAR}.npy", f"bad{TITLE}.npy"):
        (workplace / "own" / "a" / name).write_bytes(b"rubbish")
    done = snnlab("data", "inspect", *words, "data.store_dir=store")
    assert "bad" in done.out
    assert not acts(done)
    assert not acts(snnlab("train", *words, *SHORT, "data.store_dir=store"))


def test_validation_of_files_builds_and_fetches_nothing(
    theirs: Theirs, server: tuple[str, list[str]], snnlab: Snnlab, workplace: Path
) -> None:
    loggers = {
        "mlflow": "logger: {x: {_target_: lightning.pytorch.loggers.MLFlowLogger}}\noutput_dir: made",
        "a server": f"logger: {{x: {{_target_: lightning.pytorch.loggers.MLFlowLogger, tracking_uri: '{server[0]}'}}}}",
        "csv": "logger: {x: {_target_: lightning.pytorch.loggers.CSVLogger, save_dir: made}}",
        "wandb": "logger: {x: {_target_: lightning.pytorch.loggers.WandbLogger, offline: true}}",
    }
    theirs({f"experiment/e{n}.yaml": f"# @package _global_\n{text}\n" for n, text in enumerate(loggers.values())})
    done = snnlab("validate", "theirs")
    assert "Traceback" not in done.err
    assert server[1] == []
    assert [path.name for path in workplace.iterdir()] == ["theirs"]
    assert_text_has(snnlab("validate", "theirs", "+logger.x.save_dirr=x").out, "unknown", "save_dirr")
