"""The provenance of a result (code, versions, machine, configuration, data), and the comparison of two runs."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import torch

from snnlab.runs.recorded import RecordedRun, flat
from snnlab.runs.run_folder import CheckpointName
from snnlab.threads import openmp_spin_count
from snnlab.training.checkpoints import weights_hash

CODE = Path(__file__).parents[1]
_HOOK_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
PACKAGES = ("snnlab-train", "torch", "lightning", "torchmetrics", "hydra-core", "tonic", "numpy", "numba", "scipy")
# Settings of a repository with which `git status` runs no command and fetches nothing; hooks and fsmonitor are
# overridden by the command line.
_SAFE_SETTINGS = re.compile(
    r"core\.(repositoryformatversion|filemode|bare|logallrefupdates|ignorecase|precomposeunicode|symlinks|autocrlf|eol"
    r"|safecrlf|fsmonitor|hookspath)"
    r"|remote\..*\.(url|pushurl|fetch|tagopt|prune)|submodule\.(active|.*\.(url|active|branch))"
    r"|(branch|user|pull|push|color|gui|commit|init)\..*"
)


def provenance(
    *,
    config_text: str,
    data_fingerprint: str,
    split_hash: str,
    device: torch.device,
    backend: str,
    kernels: int | None,
    approximate: Sequence[str],
    sparse_input: bool,
    heap_kept: bool,
    precision: str,
    processes: Mapping[str, int],
) -> dict[str, Any]:
    """Return the `provenance` part of a result.

    `git` is the commit of snnlab's code, `working_folder` that of the repository around the working folder. An older
    run has the latter as `git`, and no `working_folder`. `openmp_spin_count`: spins before an OpenMP thread sleeps.
    `denormals`: what numbers below 1e-38 were taken for; an older run, which kept them, does not have it.

    Args:
        config_text: The run's `config.yaml`.
        data_fingerprint: Checksum of the packed recordings.
        split_hash: Hash of the lists of recordings.
        kernels: The configured version of the kernels; None: the plain loop.
        approximate: The layers whose neurons round differently from the plain loop.
        sparse_input: Whether the first layer summed single events.
        heap_kept: Whether freed memory was kept.
        precision: The precision of the training, which differs from the configured one if the device lacks that.
        processes: Number of processes, of machines, and of recordings per step.
    """
    return {
        **software(config_text),
        "working_folder": git_state(Path.cwd()),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "openmp_spin_count": openmp_spin_count(),
        "processes": dict(processes),
        "numerics": {
            "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "mkldnn": torch.backends.mkldnn.is_available(),
            "backend": backend,
            "kernels": kernels,
            "approximate": list(approximate),
            "sparse_input": sparse_input,
            "heap_kept": heap_kept,
            "denormals": "zero",
            "precision": precision,
        },
        "data_fingerprint": data_fingerprint,
        "split_hash": split_hash,
    }


def software(config_text: str, packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Return the part of the provenance that every run has: code, versions and the hash of the configuration."""
    return {
        "git": code_state(CODE),
        "python": platform.python_version(),
        "packages": {name: _package_version(name) for name in packages},
        "platform": platform.platform(),
        "config_hash": config_hash(config_text),
    }


def config_hash(text: str) -> str:
    """Return the hash of a run's `config.yaml`."""
    return hashlib.sha256(text.encode()).hexdigest()


def code_state(package: Path) -> dict[str, Any] | None:
    """Return commit and dirty flag (None: unknown) of a package's code, or None if its commit is unknown.

    A checkout is dirty if a file of the package is changed or new. A package that pip installed from a repository has
    the commit that pip recorded; one from an index has only its version.

    Args:
        package: The package's folder.
    """
    if (
        _run_git(package, "ls-files", "--error-unmatch", "__init__.py") is None
    ):  # installed, perhaps within a repository
        return _installed_state()
    return _commit_and_dirty(package, "--", ".")


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return commit and dirty flag (None: unknown) of the repository around `folder`, or None without a repository.

    As in `git describe --dirty`, new files do not make it dirty: many such folders contain recordings and runs.
    """
    return _commit_and_dirty(folder, "--untracked-files=no")


def _commit_and_dirty(folder: Path, *arguments: str) -> dict[str, Any] | None:
    commit = _run_git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = None
    if _status_is_safe(folder):
        changes = _run_git(folder, "status", "--porcelain", "--ignore-submodules=all", *arguments)
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _status_is_safe(folder: Path) -> bool:
    """Return whether `git status` runs no command from the repository's configuration.

    The repository around the working folder may be untrusted, with filters in its configuration, or with objects to
    fetch.
    """
    names = _run_git(folder, "config", "--local", "--name-only", "--list")
    return names is not None and all(map(_SAFE_SETTINGS.fullmatch, names.splitlines()))


def _installed_state() -> dict[str, Any] | None:
    """Return the commit from which pip installed the package, as recorded by PEP 610."""
    try:
        text = metadata.distribution(PACKAGES[0]).read_text("direct_url.json")
        commit = json.loads(text or "{}").get("vcs_info", {}).get("commit_id")
    except (metadata.PackageNotFoundError, ValueError, AttributeError):
        return None
    return {"commit": commit, "dirty": False} if isinstance(commit, str) else None


def _run_git(folder: Path, *arguments: str) -> str | None:
    # In a hook of git these variables would select the hook's repository instead of the folder's.
    environment = {name: value for name, value in os.environ.items() if name not in _HOOK_VARIABLES}
    safe = ["-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "--no-optional-locks"]
    command = ["git", *safe, "-C", str(folder), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _package_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def device_name(device: torch.device) -> str:
    """Return the name of the processor, or of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


_MAX_LISTED = 3


class ComparedItem(NamedTuple):
    """The result of comparing one item of two runs.

    Attributes:
        what: Its name.
        same: Whether it is the same; None if it could not be compared.
        text: The difference, or the reason.
    """

    what: str
    same: bool | None
    text: str


def compare_runs(one: RecordedRun, other: RecordedRun) -> list[ComparedItem]:
    """Compare two runs' data, metrics, predictions and weights, bit for bit.

    Raises:
        RunFolderError: if a file of one cannot be read.
    """
    # An older run has fewer arrays.
    before, after = one.predictions(), other.predictions()
    return [
        *(
            _compare_entry(name, key, one, other)
            for name, key in (("data", "data_fingerprint"), ("split", "split_hash"))
        ),
        _compare_arrays("metrics of every epoch", one.epochs(), other.epochs()),
        _compare_arrays("predictions", before, {name: values for name, values in after.items() if name in before}),
        *(_compare_weights(name, one, other) for name in get_args(CheckpointName)),
    ]


def environment_differences(one: RecordedRun, other: RecordedRun) -> list[str]:
    """Return the differences in versions, hardware and numerics, as lines of text."""
    before, after = (flat(run.provenance) for run in (one, other))
    keys = [key for key in dict.fromkeys([*before, *after]) if key not in ("config_hash", "data_fingerprint")]
    differing = [
        f"{key}: {before.get(key)} then, {after.get(key)} now" for key in keys if before.get(key) != after.get(key)
    ]
    return differing or ["versions, hardware and numerics are the same"]


def _compare_entry(what: str, key: str, one: RecordedRun, other: RecordedRun) -> ComparedItem:
    same = one.provenance.get(key) == other.provenance.get(key)
    return ComparedItem(what, same, "the same" if same else "not the same")


def _compare_arrays(what: str, one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> ComparedItem:
    differing = [name for name in dict.fromkeys([*one, *other]) if not _are_equal(one.get(name), other.get(name))]
    if not differing:
        return ComparedItem(what, True, "the same")
    shown = "; ".join(_difference_text(name, one.get(name), other.get(name)) for name in differing[:_MAX_LISTED])
    more = f"; and {len(differing) - _MAX_LISTED} more" if len(differing) > _MAX_LISTED else ""
    return ComparedItem(what, False, f"differ in {shown}{more}")


def _are_equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None or one.dtype != other.dtype or one.shape != other.shape:
        return False
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _difference_text(name: str, one: np.ndarray | None, other: np.ndarray | None) -> str:
    if one is None or other is None or one.shape != other.shape or one.dtype.kind not in "fiu":
        return name
    return f"{name} (by {np.nanmax(np.abs(one.astype(np.float64) - other.astype(np.float64))):.3g} at most)"


def _compare_weights(name: CheckpointName, one: RecordedRun, other: RecordedRun) -> ComparedItem:
    paths = [run.checkpoint(name) for run in (one, other)]
    if not all(path.is_file() for path in paths):
        return ComparedItem(f"weights, {name}", False, "a checkpoint is missing")
    same = weights_hash(paths[0]) == weights_hash(paths[1])
    return ComparedItem(f"weights, {name}", same, "the same" if same else "not the same")
