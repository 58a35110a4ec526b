"""What datasets of still images before a simulated event camera have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from snnlab.errors import ConfigError
from snnlab.events import Events

# The encoders that make spikes of one value; each of their steps is a millisecond, and all are what the camera takes.
ENCODERS, STEPS = ("poisson", "latency"), 300
_MARGIN = 3  # pixels between the image and the edge of the sensor


class SeenDuringSaccades(ABC):
    """Still images, each seen by a simulated event camera that makes three saccades of 100 ms.

    Args:
        simulation_seed: Seed of the simulated cameras; recording k is made from (simulation_seed, k) alone.
        encoder: What makes spikes of the image in the place of the camera, in 300 ms: `{type: poisson,
            max_rate_hz: 50}` or `{type: latency}`, with the settings of `snnlab list encoders NAME`; null: the camera.

    Raises:
        ConfigError: if the encoder cannot be used.
        ValueError: if the seed is negative.
    """

    def __init__(self, simulation_seed: int = 0, encoder: Mapping[str, Any] | None = None) -> None:
        if simulation_seed < 0:
            raise ValueError(f"simulation_seed must be 0 or more, got {simulation_seed}")
        self.simulation_seed, self.encoder = simulation_seed, None if encoder is None else dict(encoder)
        if self.encoder is not None:
            if self.encoder.get("type") not in ENCODERS:
                raise ConfigError(f"encoder.type: must be poisson or latency, got {self.encoder.get('type')}")
            self._encoded(np.zeros((1, 1)), 0)

    @abstractmethod
    def image(self, index: int) -> np.ndarray:
        """Return the grey values 0..1 of one image, `[H, W]`."""

    def key(self, index: int) -> int:
        """Return what decides a recording's camera, besides the seed; here its place."""
        return index

    def camera(self) -> dict[str, Any]:
        """Return what a fingerprint says of the camera, or of the encoder."""
        if self.encoder is not None:
            return {"encoder": self.encoder, "seed": self.simulation_seed}
        from snnlab.events.saccades import Saccades

        return {"camera": vars(Saccades()), "seed": self.simulation_seed}

    def read(self, index: int) -> Events:
        if self.encoder is not None:
            return self._encoded(self.image(index), self.key(index))
        # Here, since it brings numba and scipy, which only the packing needs.
        from snnlab.events.saccades import simulate

        return simulate(self.image(index), np.random.default_rng([self.simulation_seed, self.key(index)]))

    def _encoded(self, image: np.ndarray, key: int) -> Events:
        """Return the spikes of an encoder, in the middle of each step, in the middle of the sensor."""
        # Here, since it brings torch, which only the packing needs.
        import torch

        from snnlab.nn.encoders import ENCODERS as KINDS

        settings = dict(self.encoder or {})
        kind = settings.pop("type")
        if kind == "poisson":
            own = np.random.SeedSequence([self.simulation_seed, settings.get("seed", 0), key])
            settings["seed"] = int(own.generate_state(1)[0])
        spikes = KINDS.build(kind, settings, "encoder", dt=1.0)(torch.from_numpy(image).float(), STEPS)
        step, y, x = spikes.nonzero(as_tuple=True)
        x, y = ((axis + _MARGIN).numpy().astype(np.int16) for axis in (x, y))
        return Events(1000 * step.numpy() + 500, x, y, np.ones(len(step), bool))
