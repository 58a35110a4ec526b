"""The machine and the package versions, recorded in every bench's JSON."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from stepbench.methods import installed

from snnlab.runs.provenance import git_state


def about(settings: argparse.Namespace, packages: Iterable[str], device: str = "cpu") -> dict[str, Any]:
    """Return date, machine, versions and settings; `load` is the mean number of runnable processes over 1, 5, 15 min.

    Args:
        settings: The command's arguments.
        packages: The packages whose versions are recorded.
        device: cpu or cuda.
    """
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "git": git_state(Path.cwd()),
        "machine": machine(device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": load(),
        "python": platform.python_version(),
        "versions": {name: installed(name) for name in packages},
        "settings": {name: value for name, value in vars(settings).items() if name != "out"},
    }


def machine(device: str) -> str:
    """Return the processor's name."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def load() -> list[float] | None:
    """Return the mean number of runnable processes over 1, 5 and 15 minutes; None if the system does not count them."""
    return [round(mean, 2) for mean in os.getloadavg()] if hasattr(os, "getloadavg") else None


def real_recordings() -> Path | None:
    """Return the folder of real recordings, SNNLAB_DATA or ../shared/data, if N-MNIST is in it."""
    folder = Path(os.environ.get("SNNLAB_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    return folder if (folder / "NMNIST").is_dir() else None
