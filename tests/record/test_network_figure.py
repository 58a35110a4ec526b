from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.image import imread

from snnlab.errors import ConfigError
from snnlab.nn import build_network
from snnlab.nn.summary import Summary, summarize
from snnlab.record.network_figure import _chains, check_target, draw


def summary(layers: int) -> Summary:
    built = build_network({f"lif{k}": {"type": "cuba_lif"} for k in range(layers)}, in_shape=(4,), dt=1.0)
    return summarize(built, (4,))


@pytest.mark.parametrize(("layers", "rows"), [(1, 1), (5, 1), (6, 2), (9, 2), (24, 5)])
def test_boxes_stand_in_rows_that_fill_up(tmp_path: Path, layers: int, rows: int) -> None:
    path = tmp_path / "net.png"
    draw(str(path), "net", summary(layers), "3 steps of 1 ms")
    high, wide, _ = imread(path).shape
    heights = {1: 329, 2: 560, 5: 1250}
    assert high == pytest.approx(heights[rows], abs=4)
    assert wide <= 1900


def test_any_name_can_be_drawn_and_time_constants_are_formulas(tmp_path: Path) -> None:
    draw(str(tmp_path / "net.svg"), "costs $5 and $6_{", summary(1), "3 steps of 1 ms")
    text = (tmp_path / "net.svg").read_text()
    assert "costs $5 and $6_{" in text
    assert r"$\tau_{\mathrm{mem}}$ 20 ms, $\tau_{\mathrm{syn}}$ 10 ms" in text


def test_a_blocks_layers_stand_under_its_name_below_the_others(tmp_path: Path) -> None:
    lif = {"type": "lif"}
    layers = {
        "block": {"type": "residual", "layers": {"inner": lif}, "shortcut": {"way": lif}},
        "last": lif,
    }
    told = summarize(build_network(layers, in_shape=(4,), dt=1.0), (4,))
    chains = _chains(told)
    assert [(chain.title, [box.name for box in chain.boxes]) for chain in chains] == [
        ("", ["input", "block", "last"]),
        ("block: residual, add", ["inner", "shortcut"]),
        ("block.shortcut: shortcut", ["way"]),
    ]
    assert [box.follows for box in chains[1].boxes] == [True, False]
    draw(str(tmp_path / "net.svg"), "net", told, "3 steps of 1 ms")
    assert "block: residual, add" in (tmp_path / "net.svg").read_text()


@pytest.mark.parametrize("name", ["net", "net.gif", "nowhere/net.png", ""])
def test_a_target_that_cannot_be_written_is_refused_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^--figure: "):
        check_target(name)
