"""What docs/layers.md promises of trained networks: `zoo:NAME` in place of a run's folder, read-only, with a card."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.io import loadmat

import snnlab as package
from snnlab.cards import read_card_file
from snnlab.config.recorded_run import compose_run
from snnlab.data.sources.mnist import MNISTFiles
from snnlab.data.sources.saccades import SaccadeDigits
from snnlab.data.splits import TEST
from snnlab.errors import RunFolderError
from snnlab.runs.recorded import RunFiles, read_run
from snnlab.safe_tensors import read_safe_tensors
from snnlab.session import Session
from snnlab.session.model_card import card_lines, zoo_card
from snnlab.zoo import CARD_FILE, FOLDER, is_packaged, run_label, run_path, zoo_names

from ..refusals import assert_error_has, assert_raises, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]
DIGITS = "zoo:saccade_digits"


@pytest.fixture
def recording(workplace: Path) -> tuple[Path, int]:
    """Return a file with a simulated test recording, and its digit."""
    digits = SaccadeDigits()
    index = int(np.flatnonzero(digits.split == 1)[0])
    events = digits.read(index)
    path = workplace / "one.npy"
    found = np.zeros(events.t.size, [("t", int), ("x", int), ("y", int), ("p", bool)])
    for name in ("t", "x", "y", "p"):
        found[name] = getattr(events, name)
    np.save(path, found)
    return path, int(digits.targets[index])


def test_a_name_is_the_folder_of_a_packaged_network_and_other_texts_are_paths() -> None:
    folder = run_path(DIGITS)
    assert is_packaged(folder)
    assert run_label(folder) == DIGITS
    assert run_path("~/run") == Path("~/run").expanduser()
    assert run_label(Path("run")) == "run"
    assert not is_packaged(FOLDER)


def test_an_unknown_name_is_refused_with_the_names() -> None:
    with assert_raises(RunFolderError, "zoo:digits", *(f"zoo:{name}" for name in zoo_names())):
        run_path("zoo:digits")


@pytest.mark.parametrize("name", zoo_names())
def test_each_has_weights_a_result_a_licence_and_no_folder_of_the_machine_that_made_it(name: str) -> None:
    folder = FOLDER / name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 2_000_000
    card = read_card_file(folder / CARD_FILE)
    assert card.licence is not None
    assert card.checked
    config = yaml.safe_load((folder / "config.yaml").read_text())
    if config["data"]["type"] == "nmnist":
        assert "CC BY-SA" in card.licence
    assert config["data"].get("root", "${oc.env:SNNLAB_DATA,data}") == "${oc.env:SNNLAB_DATA,data}"
    assert config["output_dir"] == "outputs"
    recorded = read_run(folder)
    assert recorded.status == "completed"
    assert not [word for word in recorded.required("command") if "/" in word]
    network = package.load(f"zoo:{name}").network
    weights = read_safe_tensors(folder / "weights.safetensors")
    assert network.state_dict().keys() == weights.keys()
    text = " ".join(" ".join(card_lines(zoo_card(name))).split())
    facts = (f"zoo:{name}", " ".join(card.licence.split()), "95 % interval", f"seed {recorded.seed}", *card.checked[:1])
    assert_text_has(text, *facts)


@pytest.mark.parametrize("name", ["saccade_mnist_small", "saccade_mnist_cnn"])
def test_no_test_digit_and_no_digit_of_few_recordings_was_simulated_for_it(name: str, real_data: Path) -> None:
    data = RunFiles(FOLDER / name).config["data"]
    assert (data["type"], data["first_train"], data["num_test"]) == ("saccade_mnist", 1001, 0)
    if not (real_data / "NMNIST").is_dir() or not (real_data / "smnist").is_dir():
        pytest.skip(f"no NMNIST and smnist in {real_data}")
    genuine = [(int(path.stem), int(path.parent.name)) for path in (real_data / "NMNIST").glob("T*/*/*.bin")]
    assert len(genuine) == 800
    assert all(number < data["first_train"] for number, _ in genuine)
    # The number in a file's name is that of the digit among MNIST's training digits, from 1.
    labels = MNISTFiles(real_data / "smnist").targets
    assert all(labels[number - 1] == label for number, label in genuine)


def test_it_predicts_and_streams_as_a_run(recording: tuple[Path, int], snnlab: Snnlab) -> None:
    path, digit = recording
    done = snnlab("predict", DIGITS, str(path))
    assert done.status == 0, done.err
    assert done.out.splitlines()[1].split(",")[2] == str(digit)
    done = snnlab("stream", DIGITS, str(path), "--every", "100")
    assert done.status == 0, done.err
    assert_text_has(done.out, "answer")


def test_it_is_shown_and_exported_and_evaluated_outside_of_its_folder(
    workplace: Path, digits_store: str, snnlab: Snnlab
) -> None:
    before = sorted(path.name for path in FOLDER.rglob("*"))
    assert_text_has(snnlab("show", DIGITS).out, "conv1", "18,200")
    done = snnlab("evaluate", DIGITS, digits_store)
    assert done.status == 0, done.err
    folder = Path(done.out.splitlines()[-1])
    assert folder.parts[:2] == ("outputs", "zoo_saccade_digits")
    accuracy = json.loads((folder / "result.json").read_text())["metrics"]["test/accuracy"]
    assert accuracy == pytest.approx(read_run(run_path(DIGITS)).metrics["test/accuracy"], abs=1 / 359 + 1e-6)
    done = snnlab("export", DIGITS, "--what", "weights", "--samples", "0:1", "--out", "weights.npz", digits_store)
    assert done.status == 0, done.err
    assert sorted(path.name for path in FOLDER.rglob("*")) == before


@pytest.mark.parametrize("name", ["ecg", "smnist", "yin_yang"])
def test_each_of_a_set_without_a_camera_predicts_a_file_as_its_card_says(
    name: str, workplace: Path, real_data: Path, snnlab: Snnlab
) -> None:
    folder = {"ecg": "ecg_qtdb", "smnist": "smnist"}.get(name)
    if folder is not None and not (real_data / folder).is_dir():
        pytest.skip(f"no {folder} in {real_data}")
    given = [] if folder is None else [f"data.root={real_data}", "data.download=false"]
    dataset = Session(compose_run(run_path(f"zoo:{name}"), given, use="data")).dataset
    right, tests = [], np.flatnonzero(dataset.split == TEST)[:5]
    labels = loadmat(real_data / "ecg_qtdb" / "QTDB_test.mat")["y"][:5, :-1].argmax(-1) if name == "ecg" else None
    for place, index in enumerate(tests):
        events = dataset.read(int(index))
        lines = (f"{t},{x}" for t, x in zip(events.t.tolist(), events.x.tolist(), strict=True))
        (workplace / "one.csv").write_text("\n".join(["t,x", *lines]) + "\n")
        done = snnlab("predict", f"zoo:{name}", "one.csv")
        assert done.status == 0, done.err
        rows = list(csv.DictReader(done.out.splitlines()))
        if labels is not None:
            answers = np.concatenate(
                [
                    np.full(round((float(row["end_ms"]) - float(row["start_ms"])) / 4), int(row["answer"]))
                    for row in rows
                ]
            )
            right.append((answers == labels[place]).mean())
        else:
            right.append(float(int(rows[0]["answer"]) == dataset.targets[index]))
    assert np.mean(right) > 0.7


def test_a_training_starts_with_its_weights_and_records_its_name(
    workplace: Path, digits_store: str, snnlab: Snnlab
) -> None:
    few = ("trainer.max_epochs=1", "+trainer.limit_train_batches=1", "+trainer.limit_val_batches=1", "plots=null")
    done = snnlab("train", f"init_from={DIGITS}", "test=false", "logger=none", "monitors=null", digits_store, *few)
    assert done.status == 0, done.err
    assert_text_has(done.err, "3 of 3 tensors", DIGITS)
    run = Path(done.out.splitlines()[-1])
    assert yaml.safe_load((run / "config.yaml").read_text())["init_from"] == DIGITS
    assert json.loads((run / "result.json").read_text())["selection"]["trained_before"]["run"] == DIGITS


REFUSED = [
    (["train", f"resume={DIGITS}"], ["resume", DIGITS, f"init_from={DIGITS}"]),
    (["train", "init_from=zoo:nothing"], ["zoo:nothing", DIGITS]),
    (["predict", "zoo:nothing", "one.npy"], ["zoo:nothing", DIGITS]),
    (["evaluate", DIGITS, "--checkpoint", "last"], [DIGITS, "last"]),
    (["list", "zoo", "nothing"], ["zoo:nothing", DIGITS]),
]


@pytest.mark.parametrize(("words", "facts"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_a_mistake_is_refused_in_a_line(
    words: list[str], facts: list[object], recording: tuple[Path, int], snnlab: Snnlab
) -> None:
    done = snnlab(*words)
    assert done.status == 2
    assert_error_has(done.error, *facts)


def test_they_are_listed(snnlab: Snnlab) -> None:
    head, *lines = snnlab("list", "zoo").out.splitlines()
    assert [line.split()[0] for line in lines] == zoo_names()
    assert_text_has(head, "data", "train/val/test", "seed", "accuracy", "licence", "robustness")
    of_ecg = next(line for line in lines if line.startswith("ecg "))
    assert_text_has(of_ecg, "ecg_qtdb", "557/61/141", "83.9% test", "ODC-By 1.0", "weights")
    assert_text_has(snnlab("list", "zoo", "saccade_digits").out, DIGITS, "18,200", "Apache-2.0")


def test_spoken_digits_are_recognized_through_lauscher(real_data: Path, snnlab: Snnlab) -> None:
    pytest.importorskip("lauscher", reason="lauscher is not installed (the extra audio)")
    folder = real_data / "spoken_digits" / "recordings"  # test recordings of the set's own split
    files = [folder / f"{digit}_{person}_0.wav" for person in ("jackson", "theo") for digit in range(10)]
    done = snnlab("predict", "zoo:spoken_digits", *map(str, files))
    assert done.status == 0, done.err
    answers = [row["name"] for row in csv.DictReader(io.StringIO(done.out))]
    right = sum(answer == path.name[0] for answer, path in zip(answers, files, strict=True))
    assert right >= 12  # 74 % of all test recordings are
