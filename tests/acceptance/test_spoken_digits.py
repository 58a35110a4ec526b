"""Sound: what docs/spoken.md promises of `data=spoken_digits`, `predict` and .wav files that cannot be used.

lauscher's stand-in makes the spikes; `tests/data/test_cochlea.py` compares with lauscher.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from snnlab import load, train

from ..fixtures.sounds import stand_in_package, wav, word, write_words
from ..refusals import assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]
DATA = (
    "data=spoken_digits",
    "data.sensor_size=[20,1,1]",
    "data.num_classes=2",
    "data.duration_ms=200",
    "data.num_bins=20",
)
NETWORK = (
    "model=mlp_lif",
    "model.layers.fc1.out_features=16",
    "model.layers.lif1.v_threshold=0.3",
    "optimizer.lr=0.01",
)
LEARNING = ("data.batch_size=4", "data.val_fraction=0", "selection=last", "trainer.max_epochs=15")
QUIET = ("trainer.accelerator=cpu", "plots=null", "monitors=null", "logger=csv")


@pytest.fixture(scope="module", autouse=True)
def _stand_in() -> Iterator[None]:
    with stand_in_package():
        yield


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    write_words(folder)
    return folder


def _places(words: Path) -> tuple[str, str, str]:
    return f"data.root={words}", f"data.store_dir={words / 'store'}", f"output_dir={words / 'outputs'}"


@pytest.fixture(scope="module")
def run(words: Path) -> Path:
    return train(*DATA, *_places(words), *NETWORK, *LEARNING, *QUIET, "data.test_numbers=[0]").folder


def test_a_network_learns_words_and_answers_for_any_voice(run: Path, tmp_path: Path, snnlab: Snnlab) -> None:
    voice = {
        "up": wav(word(0, 99, 16_000), 16_000, "i3"),
        "down": wav(np.stack([word(1, 98, 44_100)] * 2, 1), 44_100, "f4"),
    }
    for name, content in voice.items():
        (tmp_path / f"{name}.WAV").write_bytes(content)
    done = snnlab("predict", str(run), *(str(tmp_path / f"{name}.WAV") for name in voice))
    assert done.status == 0, done.err
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["name"] for row in rows] == list(voice)
    assert all(int(row["events"]) > 20 for row in rows)


def test_the_recordings_of_the_run_have_the_same_spikes_in_predict(run: Path, words: Path, snnlab: Snnlab) -> None:
    opened = load(run)
    paths = sorted(words.glob("*.wav"))
    done = snnlab("predict", str(run), *map(str, paths))
    rows = list(csv.DictReader(io.StringIO(done.out)))
    packed = [int((store.t < 200_000).sum()) for store in (opened.data.store[index] for index in range(len(paths)))]
    assert [int(row["events"]) for row in rows] == packed


def test_people_for_testing_and_folds_by_person_are_of_other_people(words: Path, snnlab: Snnlab) -> None:
    people = ("data.test_numbers=null", "data.test_groups=[bo]", "data.val_fraction=0")
    found = snnlab("data", "inspect", *DATA, *_places(words), *people, "--figure", str(words / "one.png"))
    assert found.status == 0, found.err
    assert_text_has(found.out + found.err, 20, 10, "down", "up")


@pytest.mark.parametrize(
    ("content", "words_said"),
    [
        (b"", ("RIFF",)),
        (wav(word(0, 0))[:900], ("EOF", 900)),
        (wav(np.zeros(800)), ("silence",)),
        (wav(np.ones(8)), (1, 10)),
        (b"\0" * 100, ("RIFF",)),
    ],
    ids=["empty", "cut", "silent", "short", "other"],
)
def test_a_wav_that_is_no_sound_is_one_line(
    content: bytes, words_said: tuple[object, ...], run: Path, tmp_path: Path, snnlab: Snnlab
) -> None:
    (tmp_path / "bad.wav").write_bytes(content)
    done = snnlab("predict", str(run), str(tmp_path / "bad.wav"))
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert_text_has(done.err, "bad.wav", *words_said)


def test_bad_files_of_a_folder_are_named_and_may_be_skipped(words: Path, tmp_path: Path, snnlab: Snnlab) -> None:
    write_words(tmp_path)
    (tmp_path / "up_ann_1.wav").write_bytes(b"")
    settings = (*DATA, f"data.root={tmp_path}", f"data.store_dir={tmp_path}")
    done = snnlab("data", "prepare", *settings)
    assert done.status == 2
    assert_text_has(done.err, "up_ann_1.wav", "read")
    assert snnlab("data", "prepare", *settings, "data.on_bad=skip").status == 0


@pytest.mark.parametrize(
    ("setting", "facts"),
    [
        ("data.cochlea.seeed=1", ("data.cochlea", "seeed", "seed")),
        ("data.cochlea.sample_rate=8000", ("data.cochlea.sample_rate", "20,000", 8000)),
        ("data.names='{label}_{who}'", ("data.names", "{who}")),
        ("data.sort=true", ("data.sort", "cochlea")),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_place(
    setting: str, facts: tuple[object, ...], words: Path, snnlab: Snnlab
) -> None:
    done = snnlab("data", "prepare", *DATA, f"data.root={words}", setting)
    assert done.status == 2
    assert_text_has(done.err, *facts)


def test_sound_needs_a_run_on_sound(digits_run: Path, tmp_path: Path, snnlab: Snnlab) -> None:
    (tmp_path / "one.wav").write_bytes(wav(word(0, 0)))
    done = snnlab("predict", str(digits_run), str(tmp_path / "one.wav"))
    assert done.status == 2
    assert_text_has(done.err, "one.wav", "data=spoken_digits")
