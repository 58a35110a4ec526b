"""`snnlab data` on the embedded digits' small relative: simulated patterns, packed into a store of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from .conftest import Outcome

Snnlab = Callable[..., Outcome]


@pytest.fixture
def patterns(workplace: Path) -> list[str]:
    store = f"data.store_dir={workplace / 'stores'}"
    return ["data=spike_patterns", "data.num_classes=3", "data.num_recordings=30", "data.sensor_size=[20,1,1]", store]


def test_it_says_what_it_does(snnlab: Snnlab) -> None:
    for call in (["data"], ["data", "--help"], ["data", "inspect", "--help"]):
        done = snnlab(*call)
        assert done.status == 0
        assert done.out.startswith("usage: snnlab data ACTION")


def test_it_packs_shows_where_verifies_and_deletes(patterns: list[str], workplace: Path, snnlab: Snnlab) -> None:
    assert snnlab("data", "where", *patterns).out.endswith(": not packed yet\n")
    assert snnlab("data", "verify", *patterns).status == 2
    packed = snnlab("data", "prepare", *patterns)
    assert packed.status == 0, packed.err
    (folder,) = [path for path in (workplace / "stores").iterdir() if path.is_dir()]
    assert packed.out.startswith("30 recordings, ")
    assert packed.out.endswith(f" in {folder}\n")
    assert snnlab("data", "where", *patterns).out == packed.out
    verified = snnlab("data", "verify", *patterns)
    assert verified.out == packed.out.removesuffix("\n") + ": every value is as it was packed\n"
    assert snnlab("data", "clean", *patterns).out.startswith(f"{folder} deleted, ")
    assert not folder.exists()
    assert snnlab("data", "clean", *patterns).out == "nothing to delete: these recordings are not packed\n"


def test_a_damaged_copy_is_found(patterns: list[str], workplace: Path, snnlab: Snnlab) -> None:
    snnlab("data", "prepare", *patterns)
    (column,) = (workplace / "stores").glob("*/t.bin")
    content = bytearray(column.read_bytes())
    content[100] ^= 1
    column.write_bytes(content)
    done = snnlab("data", "verify", *patterns)
    assert done.status == 2
    assert "the checksum of t is wrong" in done.err


def test_it_counts_and_draws(patterns: list[str], workplace: Path, snnlab: Snnlab) -> None:
    done = snnlab("data", "inspect", *patterns, "data.duration_ms=200", "data.num_bins=20")
    assert done.status == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert [line[:2] for line in lines if line and line[0] in ("train", "validation", "test", "all")] == [
        ["train", "21"],
        ["validation", "3"],
        ["test", "6"],
        ["all", "30"],
    ]
    assert [line[1:6] for line in lines if line and line[0] in ("0", "1", "2")] == [["7", "/", "1", "/", "2"]] * 3
    assert "20 steps of 10 ms" in done.out
    picture = workplace / "outputs" / "data_simulated_spike_patterns.png"
    assert done.out.endswith(f"{picture.relative_to(workplace)}\n")
    assert imread(picture).shape[1] == 614  # 4.8 inches


def test_a_picture_is_put_where_it_is_wanted(patterns: list[str], workplace: Path, snnlab: Snnlab) -> None:
    assert snnlab("data", "inspect", *patterns, "--figure", "mine.png").out.endswith("mine.png\n")
    assert imread(workplace / "mine.png").size
    done = snnlab("data", "inspect", *patterns, "--figure", "mine.txt")
    assert (done.status, done.err) == (2, "snnlab: --figure: mine.txt should end with .png\n")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["inspekt"], "data: there is no action inspekt. Did you mean 'inspect'?"),
        (["clean", "--figure", "a.png"], "data clean: there is no option --figure."),
        (["inspect", "data=nmist"], "nmnist"),
    ],
)
def test_mistakes_are_named(call: list[str], words: str, workplace: Path, snnlab: Snnlab) -> None:
    done = snnlab("data", *call)
    assert done.status == 2
    assert words in done.err


def test_recordings_of_one_person_are_shown_although_no_split_of_them_can_be(workplace: Path, snnlab: Snnlab) -> None:
    folder = workplace / "DVSGesture" / "ibmGestureTrain" / "user01_fluorescent"
    folder.mkdir(parents=True)
    for gesture in range(3):
        np.save(folder / f"{gesture}.npy", np.array([[gesture, 5, 1, 0], [7, gesture, 0, 900]]))
    where = [f"data.root={workplace}", "data.download=false", f"data.store_dir={workplace / 'stores'}"]
    done = snnlab("data", "inspect", "data=dvsgesture", *where)
    assert done.status == 0, done.err
    assert (
        "these recordings have no split: all 3 recordings are of one group, of which no part can be held out"
        in done.out
    )
    assert "right hand wave" in done.out
