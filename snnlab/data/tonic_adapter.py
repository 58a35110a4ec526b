"""The one place that imports tonic (GPL-3.0-only), and only when a file is read or a transform is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from snnlab.events import Events


def read_nmnist_file(path: Path) -> Events:
    """Read a recording in the format of N-MNIST and N-Caltech101, through tonic."""
    from tonic.io import read_mnist_file

    columns = read_mnist_file(str(path), dtype=np.dtype([("x", int), ("y", int), ("t", int), ("p", int)]))
    return Events(
        t=columns["t"].astype(np.int64),
        x=columns["x"].astype(np.int16),
        y=columns["y"].astype(np.int16),
        p=columns["p"].astype(bool),
    )


def transform(name: str) -> Callable[..., Any]:
    """Return a class of `tonic.transforms`."""
    import tonic.transforms

    return getattr(tonic.transforms, name)
