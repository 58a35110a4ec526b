"""The commands, files and Python code of README.md and of the pages of docs/ work as they are."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from scripts.notebooks import FILE
from snnlab import train
from snnlab.cli import main
from snnlab.data.sources.saccades import SaccadeDigits
from snnlab.nn import build_network

from .fixtures.sounds import stand_in_package, wav, word, write_words
from .marks import one_long
from .pages import (
    BLOCKS as ALL_BLOCKS,
    PAGES,
    ROOT,
    TUTORIALS,
    Block,
    assert_shows,
    commands_of,
    own_registries,
)
from .refusals import assert_text_has

# The blocks of a tutorial run one after the other: tests/test_tutorials.py.
BLOCKS = [block for block in ALL_BLOCKS if block.page not in TUTORIALS]
# Overrides for seconds instead of minutes; the README's settings of the experiment stay.
SHORT = (
    "trainer.max_epochs=1",
    "data.batch_size=4",
    "+trainer.limit_train_batches=1",
    "+trainer.limit_val_batches=1",
    "+trainer.limit_test_batches=1",
    "trainer.accelerator=cpu",
    "plots=null",
    "monitors=null",
    # Each neuron would be compiled; other tests compare the spikes of the compiled loops.
    "backend=reference",
)


# Searches in seconds: two trials of a small network in this process, and nothing trained again.
FEW = (
    "model=mlp_lif",
    "model.layers.fc1.out_features=8",
    *(text for text in SHORT if not text.startswith(("plots", "monitors"))),
    "sweep.trials=2",
    "sweep.engine=here",
    "sweep.finalists=0",
    "sweep.test_seeds=0",
)


def commands(*, sweeps: bool = False) -> list[str]:
    """Return the commands of all pages, each once.

    Args:
        sweeps: Whether searches are returned, which are run with other settings, or all else.
    """
    found = dict.fromkeys(line for block in BLOCKS for line in commands_of(block))
    return [line for line in found if line.startswith("snnlab sweep") == sweeps]


SHOWN = {line: shown for block in BLOCKS for line, shown in commands_of(block).items() if shown}


@pytest.fixture(scope="module", autouse=True)
def _own_registries() -> Iterator[None]:
    with own_registries(), stand_in_package():
        yield


def encoded(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> bytes:
    """Return events in the 5 bytes each of N-MNIST's format."""
    columns = (x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255)
    return np.stack(columns, 1).astype(np.uint8).tobytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files of the pages, a tiny synthetic N-MNIST and recordings of two classes."""
    folder = tmp_path_factory.mktemp("readme")
    for block in BLOCKS:
        if named := FILE.match(block.text):
            (folder / named[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / named[1]).write_text(block.text)
    rng = np.random.default_rng(0)
    for part, number in (("Train", 4), ("Test", 1)):
        for digit in range(10):
            (folder / "FOLDER" / "NMNIST" / part / str(digit)).mkdir(parents=True)
            for k in range(number):
                t, (x, y) = np.sort(rng.integers(0, 300_000, 500)), rng.integers(0, 34, (2, 500))
                path = folder / "FOLDER" / "NMNIST" / part / str(digit) / f"{k:05d}.bin"
                path.write_bytes(encoded(t, x, y, rng.integers(0, 2, 500)))
    for number in range(16):
        path = folder / "mine" / ("wave", "clap")[number % 2] / f"{number:04d}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = (*rng.integers(0, 128, (2, 500)), np.sort(rng.integers(0, 10**6, 500)), rng.integers(0, 2, 500))
        np.save(path, np.stack(columns, 1))
    shutil.copy(folder / "mine" / "wave" / "0000.npy", folder / "recording.npy")
    for number in range(1, 7):
        part = folder / "FOLDER" / "DVSGesture" / ("ibmGestureTest" if number > 4 else "ibmGestureTrain")
        path = part / f"user{number:02d}_natural" / f"{number % 2}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = (*rng.integers(0, 128, (2, 900)), rng.integers(0, 2, 900), np.sort(rng.integers(0, 2000, 900)))
        np.save(path, np.stack(columns, 1))
    spoken(folder / "FOLDER" / "SHD", rng)
    training = np.flatnonzero(SaccadeDigits().split == 0)[:60].tolist()
    digits = [(digit, person, number) for digit in range(10) for person in ("bo", "cy", "theo") for number in (0, 5)]
    for seed, (digit, person, number) in enumerate(digits):
        path = folder / "VOICES" / f"{digit}_{person}_{number}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(wav(word(digit % 2, seed, seconds=0.05)))
    shutil.copy(folder / "VOICES" / "9_theo_5.wav", folder / "voice.wav")
    write_words(folder / "words", "{label}/{person}-{number}", people=("ann", "bo", "cy"))
    of_sound = ("data=spoken_digits", f"data.root={folder / 'VOICES'}", "model=mlp_lif")
    shutil.copytree(train(*SHORT, *of_sound, f"output_dir={folder / 'outputs'}").folder, folder / "SPOKEN_RUN")
    rows = [f"{digit},{('train', 'train', 'val')[k % 3]}" for k, digit in enumerate(training)]
    shutil.copytree(train(*SHORT, f"output_dir={folder / 'outputs'}").folder, folder / "RUN")
    parts = [f"{digit},{('train', 'train', 'val', 'test')[k % 4]}" for k, digit in enumerate(training)]
    (folder / "parts.csv").write_text("\n".join(["recording,split", *parts]))
    relu = ("model=cnn_frames", "data.num_bins=1", f"data.split_file={folder / 'parts.csv'}")
    train(*relu, *SHORT, f"hydra.run.dir={folder / 'RELU'}")  # not copied: a copy is another user's
    neuron = {"type": "lif", "reset": "value", "threshold": "strict"}
    for name, out, in_shape in (("theirs", 3, (8,)), ("cnn_sinabs", 10, (2, 34, 34))):  # stand-ins for files of others
        layers = {"flatten": {"type": "flatten"}, "fc": {"type": "linear", "out_features": out}, "lif": neuron}
        theirs = build_network(layers, in_shape=in_shape, dt=1.0)
        nir.write(folder / f"{name}.nir", theirs.network.to_nir())
    (folder / "split.csv").write_text("\n".join(["recording,split", *rows]))
    return folder


def spoken(folder: Path, rng: np.random.Generator) -> None:
    """Write the two files of a tiny SHD."""
    folder.mkdir(parents=True)
    for part in ("train", "test"):
        with h5py.File(folder / f"shd_{part}.h5", "w") as file:
            ragged = {"times": h5py.vlen_dtype(np.float16), "units": h5py.vlen_dtype(np.uint16)}
            columns = {name: file.create_dataset(f"spikes/{name}", (20,), kind) for name, kind in ragged.items()}
            for k in range(20):
                columns["times"][k] = np.sort(rng.random(50)).astype(np.float16)
                columns["units"][k] = rng.integers(0, 700, 50).astype(np.uint16)
            file["labels"] = np.arange(20, dtype=np.uint16)
            file["extra/speaker"] = np.arange(20, dtype=np.uint16) % 10
            file["extra/keys"] = [f"word {k}".encode() for k in range(20)]


def test_there_are_commands_to_run():
    assert len(commands()) >= 10


# They start other processes, each of which imports everything; tests/cli starts such in `make check`.
STARTS_PROCESSES = ("launcher=joblib", "trainer=ddp")
# Options that make a command of a page shorter.
FEWER = {"quantize": {"--recordings": "8"}, "robust": {"--recordings": "8", "--repetitions": "1"}}
OF_README = {line for block in BLOCKS if block.page == Path("README.md") for line in commands_of(block)}


def mark(line: str) -> Any:
    """Return the mark of a command: `make test` has those of the README, and those whose output is shown."""
    if any(text in line for text in STARTS_PROCESSES):
        return pytest.mark.slow
    return () if line in OF_README or line in SHOWN else pytest.mark.long


@pytest.mark.parametrize(
    "command",
    [pytest.param(line, marks=mark(line)) for line in commands()],
)
def test_a_command_of_a_page_works(
    command: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    _, *arguments = shlex.split(command)
    if "--onnx" in arguments and find_spec("onnxruntime") is None:
        pytest.skip("onnx and onnxruntime are not installed")
    if "resume=RUN" in arguments:  # the other commands need the run unchanged
        shutil.copytree(place / "RUN", tmp_path / "RUN")
    monkeypatch.chdir(tmp_path if "resume=RUN" in arguments else place)
    if any(word.endswith("/config.yaml") for word in arguments):  # a copied file has no output folder for its next run
        arguments.append(f"output_dir={tmp_path}")
    short_already = {"resume=RUN", *(word for word in arguments if word.endswith("/config.yaml"))}
    trains = arguments[0] in ("train", "find") and not {"--help", "--cfg", *short_already} & set(arguments)
    if arguments[:1] == ["bench"] and any(word.startswith("suite=") for word in arguments):
        arguments.append("--dry-run")  # tests/experiments/acceptance/test_bench.py trains one
    if arguments[0] in FEWER:
        for name, value in FEWER[arguments[0]].items():
            if name in arguments:
                arguments[arguments.index(name) + 1] = value
            else:
                arguments += [name, value]
    if "data.root=FOLDER" in command and "data.download=false" not in arguments:
        arguments.append("data.download=false")  # a test fetches nothing
    short = [text for text in SHORT if not (text.startswith("backend=") and "backend=" in command)] if trains else []
    if "trainer=ddp" in arguments:  # its other processes run the command of the first
        subprocess.run([sys.executable, "-m", "snnlab", *arguments, *short], check=True)
        return
    monkeypatch.setattr(sys, "argv", ["snnlab", *arguments, *short])
    try:
        status = main.main()
    except SystemExit as exit_:  # Hydra's --help exits
        status = exit_.code
    captured = capfd.readouterr()
    shown = SHOWN.get(command, "")
    finds_problem = arguments[0] == "doctor" and "--gradient" not in arguments
    status_shown = 1 if finds_problem else 2 if shown.startswith("snnlab: ") else 0
    assert status == (status_shown if shown else 0), captured.err + captured.out
    if shown:
        assert_shows(captured.out + captured.err, shown)


def searched() -> list[Any]:
    """Return the searches of the pages, of which the first is long and the others are slow."""
    return one_long(line for line in commands(sweeps=True) if "resume=" not in line)


@pytest.mark.parametrize("command", searched())
def test_a_search_of_a_page_finds_a_winner_and_goes_on(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [*shlex.split(command), *FEW])
    assert main.main() == 0, capfd.readouterr().err
    output = capfd.readouterr().out
    assert_text_has(output, "winner: trial")
    (again,) = [line for line in commands(sweeps=True) if "resume=" in line]
    _, name, _, *others = shlex.split(again)
    wanted = [text.replace("=40", "=3") for text in others]
    monkeypatch.setattr(sys, "argv", ["snnlab", name, f"resume={output.splitlines()[-1]}", *wanted])
    assert main.main() == 0, capfd.readouterr().err
    assert "trials: 3 complete" in capfd.readouterr().out


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "python" and not block.not_run], ids=str
)
def test_the_python_of_a_page_runs(block: Block, place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(place)
    anew = re.sub(r'register\("(\w+)"\)', r'register("\1_of_a_page")', block.text)  # the commands import it as a plugin
    made: dict[str, Any] = {"__name__": "page"}
    exec(compile(anew, str(block.page), "exec", dont_inherit=True), made)
    assert set(re.findall(r"^(?:class (?=\w+\()|(?=\w+ = ))(\w+)", block.text, re.M)) <= made.keys()


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "yaml" and not block.not_run], ids=str
)
def test_the_yaml_of_a_page_is_a_file_with_a_name(block: Block):
    assert FILE.match(block.text)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_is_run_or_says_why_not(block: Block):
    runs = block.language in ("python", "yaml") or bool(commands_of(block))
    assert runs or block.not_run


def anchors(text: str) -> set[str]:
    """Return the names of the headings of a page, as links give them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_links_of_a_page_lead_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)\s]+)\)", PAGES[page])
    for target in (target for target in targets if not target.startswith("http")):
        name, _, anchor = target.partition("#")
        path = (page.parent / name) if name else page
        assert (ROOT / path).exists(), target
        assert not anchor or anchor in anchors((ROOT / path).read_text(encoding="utf-8")), target


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_files_that_a_page_names_exist(page: Path):
    named = re.findall(r"`((?:configs|scripts|snnlab|tests)/[\w./-]+)`", PAGES[page])
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []


def test_the_front_page_is_short():
    assert len(PAGES[Path("README.md")].encode()) <= 6000
