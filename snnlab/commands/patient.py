"""Whose network `snnlab doctor` looks at: what the user typed, and what is tried on top of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from snnlab.config.composing import compose_once
from snnlab.config.of_run import compose_run
from snnlab.config.overrides import rivals_of
from snnlab.config.schema import Experiment


class Patient(NamedTuple):
    """Whose network is looked at: as `snnlab train` would begin with it, or a run's.

    Attributes:
        run: The run's folder, or None.
        config_dir: The user's folder, or None.
    """

    run: Path | None
    overrides: list[str]
    config_dir: str | None

    def experiment(self, more: Sequence[str]) -> tuple[Experiment, Path]:
        """Compose the experiment with further overrides; its neurons run by a backend that needs no compiling."""
        overrides = merged(self.overrides, more)
        if self.run is None:
            experiment, folder = compose_once(overrides, self.config_dir)
        else:
            experiment, folder = compose_run(self.run, overrides, self.config_dir, "data"), self.run
        plain = {"backend": "reference", "fuse": False, "recompute": 0, "logger": None, "callbacks": None}
        return replace(experiment, **plain), folder


def merged(overrides: Sequence[str], more: Sequence[str]) -> list[str]:
    """Return overrides with further ones, which take the place of those that say the same, in the same words or not."""
    keys = {key for text in more for key in (_key(text), *rivals_of(_key(text)))}
    return [*(text for text in overrides if _key(text) not in keys), *more]


def _key(text: str) -> str:
    return text.lstrip("+").partition("=")[0]
