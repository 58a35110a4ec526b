"""The site of the documentation: complete, without dead links, and readable on a phone."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from PIL import Image

from snnlab import nn
from snnlab.cli.command_files import commands
from snnlab.cli.kinds import registry
from snnlab.config.catalogue import REGISTRIES
from snnlab.config.folders import config_folder, group_files
from snnlab.config.schema import NO_SETTINGS, Experiment
from snnlab.spec.signatures import fields_of

from ..cli.browser import BROWSER, in_a_browser

pytestmark = pytest.mark.long  # builds the site

ROOT = Path(__file__).parents[2]
# Loads each page in a frame of each width; the title is the list of those that are wider than their frame.
MEASURE = """<body><script>
const wide = [], pages = PAGES, widths = [400, 1400];
let left = pages.length * widths.length;
for (const page of pages) for (const width of widths) {
  const frame = document.createElement("iframe");
  frame.style = `width:${width}px;height:900px`;
  frame.onload = () => {
    const root = frame.contentDocument.documentElement;
    if (root.scrollWidth > root.clientWidth) wide.push(`${page} at ${width}: ${root.scrollWidth}`);
    if (!--left) document.title = `measured ${JSON.stringify(wide)}`;
  };
  frame.src = page;
  document.body.append(frame);
}
</script></body>"""


@pytest.fixture(scope="module")
def build_docs() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        return importlib.import_module("build_docs")


# Two thirds of the time are the cards of the large networks: `make slow` builds them.
MODELS = ("conv_lif", "mlp_lif", "gru")


def built(out: Path, *arguments: str) -> Path:
    command = [sys.executable, str(ROOT / "scripts" / "build_docs.py"), "--out", str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr  # a warning of MkDocs, such as a dead link, is an error
    return out / "site"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("site"), "--models", *MODELS)


@pytest.fixture(scope="module")
def whole_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("whole_site"))


def headings(page: Path) -> set[str]:
    return set(re.findall(r'<h2 id="([^"]+)"', page.read_text(encoding="utf-8")))


def test_every_public_name_of_nn_has_a_section(site: Path, build_docs: ModuleType):
    names = {name.lower() for name in build_docs.public_names(nn)}
    assert len(names) > 100
    assert names <= {re.sub(r"_\d+$", "", heading) for heading in headings(site / "reference/python/snnlab_nn.html")}


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_type_has_a_section(site: Path, kind: str):
    entries = registry(kind)
    packaged = {
        name for name in entries if entries.get(name, kind).__module__.startswith("snnlab.")
    }  # not of other tests
    assert packaged <= headings(site / f"reference/{kind}.html")


def assert_models_have_cards_and_figures(site: Path, names: set[str]) -> None:
    assert names <= headings(site / "reference/models.html")
    assert names == {path.stem for path in (site / "reference" / "models").glob("*.svg")}


def test_a_model_has_a_card_and_a_figure(site: Path):
    assert_models_have_cards_and_figures(site, set(MODELS))


def test_pictures_of_a_recording_stand_side_by_side_in_rows(build_docs: ModuleType):
    canvas = np.asarray(build_docs.pictures.montage([np.full((20, 30, 3), n, np.uint8) for n in range(4)]))
    assert canvas.shape == (40, 90, 3)
    assert [canvas[0, 0, 0], canvas[19, 89, 0], canvas[20, 0, 0], canvas[39, 89, 0]] == [0, 2, 3, 255]


@pytest.mark.slow
def test_the_pictures_are_drawn_by_the_build(build_docs: ModuleType, tmp_path: Path):
    build_docs.pictures.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"run.png", "network.png"}
    assert all(np.asarray(Image.open(path)).std() > 10 for path in tmp_path.iterdir())


@pytest.mark.slow
def test_every_model_has_a_card_and_a_figure(whole_site: Path):
    assert_models_have_cards_and_figures(whole_site, set(group_files("model", config_folder())))
    assert_no_link_is_dead(whole_site)


def test_every_setting_and_command_is_there(site: Path, build_docs: ModuleType):
    text = (site / "reference/settings.html").read_text(encoding="utf-8")
    assert all(f"<code>{name}</code>" in text for name in fields_of(Experiment) if name not in NO_SETTINGS)
    assert {f"snnlab-{name}" for name in commands()} <= headings(site / "reference/commands.html")


def test_every_page_is_in_the_menu():
    text = re.sub(r"!ENV ", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    menu = json.dumps(yaml.safe_load(text)["nav"])
    assert [
        path.name
        for path in (ROOT / "docs").rglob("*.md")
        if f'"{path.relative_to(ROOT / "docs")}"' not in menu and ROOT / "docs" / "results" not in path.parents
    ] == []


def test_pages_load_nothing_from_elsewhere(site: Path):
    loads = re.compile(
        r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//|<link[^>]+rel="(?:stylesheet|icon)"[^>]+href="(?:https?:)?//'
    )
    assert [page.name for page in site.rglob("*.html") if loads.search(page.read_text(encoding="utf-8"))] == []


def test_each_tutorial_is_a_notebook_with_its_code_and_outputs(site: Path):
    tutorials = {path.stem for path in (ROOT / "docs" / "tutorials").glob("*.md")}
    assert tutorials == {path.stem for path in (site / "tutorials").glob("*.ipynb")}
    found = json.loads((site / "tutorials" / "pytorch.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in found["cells"] if cell["cell_type"] == "code"]
    for cell in code:
        compile(cell["source"], "pytorch.ipynb", "exec")
    assert code[-1]["outputs"][0]["text"] == "True\n"


def test_no_link_of_the_site_is_dead(site: Path):
    assert_no_link_is_dead(site)


def assert_no_link_is_dead(site: Path) -> None:
    dead = []
    for page in site.rglob("*.html"):
        for target in re.findall(r'(?:href|src)="([^":#?]+)(?:[#?][^"]*)?"', page.read_text(encoding="utf-8")):
            if page.name != "404.html" and not (page.parent / target).exists():
                dead.append(f"{page.relative_to(site)}: {target}")
    assert dead == []


# Pages with wide tables, code and equations; `make slow` opens all.
WIDE = ("index.html", "reference/settings.html", "reference/neurons.html", "reference/models.html", "results.html")
WIDE += ("certified.html", "kernels.html")


@in_a_browser
def test_no_wide_page_scrolls_sideways_on_a_phone_or_a_screen(site: Path):
    assert_no_page_scrolls_sideways(site, WIDE)


@pytest.mark.slow
@in_a_browser
def test_no_page_scrolls_sideways_on_a_phone_or_a_screen(whole_site: Path):
    pages = [str(path.relative_to(whole_site)) for path in whole_site.rglob("*.html") if path.name != "404.html"]
    assert_no_page_scrolls_sideways(whole_site, pages)


def assert_no_page_scrolls_sideways(site: Path, pages: Sequence[str]) -> None:
    measure = site / "measure.html"
    measure.write_text(MEASURE.replace("PAGES", json.dumps(pages)))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    command = [str(BROWSER), *options, "--virtual-time-budget=60000", measure.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=300).stdout
    measured = re.search(r"<title>measured (.*?)</title>", shown)
    assert measured, shown[-2000:]
    assert json.loads(measured[1]) == []


@pytest.mark.parametrize(
    ("equation", "shown"),
    [
        (
            "v[t] = a * v[t-1] + g * x[t]",
            "<i>v</i>[<i>t</i>] = <i>a</i> · <i>v</i>[<i>t</i>−1] + <i>g</i> · <i>x</i>[<i>t</i>]",
        ),
        ("s[t] = H(u >= v_threshold)", "<i>s</i>[<i>t</i>] = <i>H</i>(<i>u</i> ≥ <i>v</i><sub>threshold</sub>)"),
        ("v = w where r is 1,   s = x", "<i>v</i> = <i>w</i> where <i>r</i> is 1,&emsp;<i>s</i> = <i>x</i>"),
        (
            "  a = exp(-dt / tau_mem)   `decay`",
            '&emsp;<i>a</i> = exp(-<i>dt</i> / <i>τ</i><sub>mem</sub>) <span class="when">`decay`</span>',
        ),
    ],
)
def test_an_equation_is_typeset(build_docs: ModuleType, equation: str, shown: str):
    assert build_docs.typeset(equation) == shown


QUESTIONS = {
    "how do I save a model": "save",
    "learning rate": "learning-rate",
    "plot spikes": "plot",
    "multiple GPUs": "gpu",
    "own dataset": "own-dataset",
    "reset": "reset",
    "threshold": "threshold",
    "export onnx": "onnx",
    "resume": "resume",
    "why accuracy low": "accuracy",
}


@pytest.mark.slow
@in_a_browser
@pytest.mark.parametrize(("words", "anchor"), QUESTIONS.items())
def test_the_search_finds_the_answer_to_a_question_first(site: Path, words: str, anchor: str):
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    address = f"{(site / 'index.html').as_uri()}?q={words.replace(' ', '+')}"
    command = [str(BROWSER), *options, "--virtual-time-budget=20000", address]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    found = re.findall(r'href="([^"]+)"[^>]*class="md-search-result__link"', shown)
    assert [link.rpartition("/")[2].partition("?")[0] for link in found[:1]] == ["questions.html"]
    assert anchor in found[1].rpartition("#")[2]
