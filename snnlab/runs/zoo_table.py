"""The trained networks that come with snnlab, a line each."""

from __future__ import annotations

import re
from collections.abc import Sequence

from snnlab.cards import read_card_file
from snnlab.runs.recorded import read_run
from snnlab.zoo import CARD_FILE, FOLDER, zoo_names

HEAD = ("network", "data", "train/val/test", "seed", "accuracy", "licence", "robustness")


def zoo_table() -> list[Sequence[str]]:
    """Return the head and the line of each network."""
    return [HEAD, *map(_line, zoo_names())]


def _line(name: str) -> Sequence[str]:
    """Return the facts of a trained network: data, split, seed, accuracy, the licence's name, robustness."""
    run, card = read_run(FOLDER / name), read_card_file(FOLDER / name / CARD_FILE)
    sizes = "/".join(f"{run.selection.get(f'{part}_size', 0)}" for part in ("train", "val", "test"))
    part = "test" if "test/accuracy" in run.metrics else "val"
    accuracy, licence = f"{run.metrics[f'{part}/accuracy']:.1%} {part}", re.split("[,;]", card.licence or "-")[0]
    kind = str(run.settings.get("data.type"))
    return name, kind, sizes, str(run.seed), accuracy, licence, card.robustness or "not measured"
