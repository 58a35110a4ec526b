"""The diagram of a network as text: boxes, ways around blocks, feedback, shapes and parameters."""

from __future__ import annotations

from typing import Any

import pytest

from snnlab.nn import build_network
from snnlab.nn.summary import summarize
from snnlab.runs.diagram import text_diagram

LIF, FC = {"type": "lif"}, {"type": "linear", "out_features": 4, "bias": False}
LOOP = {
    "type": "loop",
    "layers": {"a": FC, "b": LIF},
    "feedback": {"from": "b", "to": "b", "layers": {"back": FC}},
}
DRAWN: list[tuple[dict[str, Any], str]] = [
    (
        {"fc": FC, "lif": LIF, "out": {"type": "linear", "out_features": 300}},
        """
○ frames             4
■ fc linear · lif    4     16
■ out linear       300  1,500
""",
    ),
    (
        {f"{name}{k}": node for k in range(3) for name, node in (("fc", FC), ("lif", LIF))},
        """
○ frames                                    4
■ fc0 linear · lif0 lif, 3 times            4  48
""",
    ),
    (
        {"block": {"type": "residual", "layers": {"fc": FC, "lif": LIF}}, "last": LIF},
        """
○ frames                    4
├─╮ block: residual, add
│ ■ fc linear · lif         4  16
├─╯ +
■ last lif                  4
""",
    ),
    (
        {"block": {"type": "residual", "layers": {"lif": LIF}, "shortcut": {"fc": FC}}},
        """
○ frames                    4
├─╮ block: residual, add
│ ■ lif                     4
├─┤ beside it: shortcut
│ ■ fc linear               4  16
├─╯ +
""",
    ),
    (
        {"outer": {"type": "sequential", "layers": {"inner": {"type": "residual", "layers": {"fc": FC}}}}},
        """
○ frames                      4
╰─╮ outer: sequential
  ├─╮ inner: residual, add
  │ ■ fc linear               4  16
  ├─╯ +
╭─╯
""",
    ),
    (
        {"loop": LOOP, "rec": {"type": "lif", "recurrent": True}},
        """
○ frames                          4
├─╮ loop: loop, b → b
│ ■ a linear                      4  16
│ ■ b lif                         4
├─┤ back, a step later: b to b
│ ■ back linear                   4  16
├─╯
■ rec lif, recurrent              4  16
""",
    ),
]


@pytest.mark.parametrize(("layers", "drawn"), DRAWN, ids=[" ".join(layers) for layers, _ in DRAWN])
def test_a_network_is_drawn(layers: dict[str, Any], drawn: str) -> None:
    lines = text_diagram(summarize(build_network(layers, in_shape=(4,), dt=1.0), (4,)))
    assert [" ".join(line.split()) for line in lines] == [" ".join(line.split()) for line in drawn.split("\n")[1:-1]]
