"""What is written from names of a stranger is text: of classes, recordings and layers, in C, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from snnlab.interop.c99.c_folder import compiler

from ..refusals import assert_error_has
from .conftest import SHORT, Outcome

Snnlab = Callable[..., Outcome]
MARKUP = "<img src=x onerror=alert(1)>"
CLASSES = (MARKUP, "*[a](javascript:alert(1))| `x`", r"$\input{x}$ & % # _ ??!")
RECORDING = '0"><script>alert(2).npy'


class Markup(HTMLParser):
    """Collects the names of a page's attributes and the text of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.attributes: set[str] = set()
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes |= {name for name, _ in attrs}
        self.attributes |= {value for name, value in attrs if name == "href" and value and ":" in value}

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts.append(data)


@pytest.fixture
def run(workplace: Path, snnlab: Snnlab) -> Path:
    """Return a run of an experiment, on recordings and classes, whose names are markup."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        for number in range(6):
            path = workplace / "theirs" / name / f"{number}{RECORDING}"
            path.parent.mkdir(parents=True, exist_ok=True)
            columns = (rng.integers(0, 8, 50), rng.integers(0, 8, 50), np.sort(rng.integers(0, 90, 50)), np.zeros(50))
            np.save(path, np.stack(columns, 1).astype(np.int64))
    data = ("data=folder", "data.root=theirs", "data.sensor_size=[8,8,2]", "data.num_classes=3", "data.time_unit=ms")
    done = snnlab("train", *data, "data.duration_ms=100", "data.store_dir=store", f'name="{MARKUP}"', *SHORT)
    assert done.status == 0, done.err
    return Path(done.out.splitlines()[-1])


def test_a_report_shows_names_of_classes_and_recordings_as_text(run: Path, snnlab: Snnlab) -> None:
    done = snnlab("report", str(run), "--out", "page.html")
    assert done.status == 0, done.err
    page = Path("page.html").read_text(encoding="utf-8")
    markup = Markup(page)
    assert "onerror" not in markup.attributes
    assert not [name for name in markup.attributes if "javascript:" in name]
    assert not [text for text in markup.scripts if "alert" in text]
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler: cc, gcc or clang")
def test_exported_c_has_none_of_these_names_as_they_are(run: Path, snnlab: Snnlab) -> None:
    done = snnlab("export", str(run), "--c", "board", "--recordings", "1")
    assert done.status == 0, done.err
    texts = [path.read_text(encoding="utf-8") for path in Path("board").glob("*.[chm]*")]
    texts.append(Path("board/README.md").read_text(encoding="utf-8"))
    assert not [name for name in (*CLASSES, RECORDING) if any(name in text for text in texts)]


def test_a_layer_whose_name_is_no_identifier_is_refused(run: Path, snnlab: Snnlab) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("    lif1:", '    "lif1*/ <b>":'))
    for words in (["show", str(run)], ["export", str(run), "--c", "other"], ["export", str(run), "--onnx", "n.onnx"]):
        done = snnlab(*words)
        assert done.status == 2
        assert_error_has(done.error, "model.layers", "lif1*/ <b>")
