"""The registry of datasets: each entry is a `snnlab.data.events.Source` that also says its number of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from snnlab.data.events import Source
from snnlab.registry import Registry

DATASETS = Registry("dataset")


class Dataset(Source, Protocol):
    """A source with classes or values, and with what the user should know of the copy found on this machine."""

    @property
    def num_classes(self) -> int:
        """Number of classes, or of values a recording."""
        ...

    @property
    def class_names(self) -> Sequence[str] | None:
        """What the classes or values are called, by number; None where the numbers are their names."""
        ...

    @property
    def notes(self) -> list[str]:
        """Lines for the user, such as what is missing from a partial copy."""
        ...
