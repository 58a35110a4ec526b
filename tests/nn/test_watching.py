"""Who watches sees every spike that the plain loop decides, and nothing afterwards."""

from __future__ import annotations

import torch

from snnlab.nn.surrogate import Atan, spike, watching


def test_a_watcher_sees_distance_surrogate_and_threshold_while_it_watches():
    seen: list[tuple[object, ...]] = []
    distance, surrogate = torch.tensor([-1.0, 0.5]), Atan()
    with watching(lambda *look: seen.append(look)):
        spike(distance, surrogate, 2.0)
    spike(distance, surrogate, 2.0)
    assert seen == [(distance, surrogate, 2.0)]
