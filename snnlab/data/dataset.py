"""The registry of datasets: each entry is a `snnlab.data.events.Source` that also says its number of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from snnlab.data.events import Source
from snnlab.registry import Registry

DATASETS = Registry("dataset")


class Dataset(Source, Protocol):
    """A source with classes or values, and notes about the copy on this machine."""

    @property
    def num_classes(self) -> int:
        """Number of classes, or of values per recording."""
        ...

    @property
    def class_names(self) -> Sequence[str] | None:
        """Names of the classes or values, by number; None: the numbers are the names."""
        ...

    @property
    def notes(self) -> list[str]:
        """Notes for the user, for example about files missing from a partial copy."""
        ...
