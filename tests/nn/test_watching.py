"""An observer gets every spike of the plain loop, but none after its context."""

from __future__ import annotations

import torch

from snnlab.nn.surrogate import Atan, observe_membranes, spike


def test_an_observer_gets_distance_surrogate_and_threshold():
    seen: list[tuple[object, ...]] = []
    distance, surrogate = torch.tensor([-1.0, 0.5]), Atan()
    with observe_membranes(lambda *look: seen.append(look)):
        spike(distance, surrogate, 2.0)
    spike(distance, surrogate, 2.0)
    assert seen == [(distance, surrogate, 2.0)]
