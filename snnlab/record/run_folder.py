"""The folder of one run, and what `train` returns.

config.yaml  result.json  metrics.csv  predictions.npz  split.json  trained_on.npy  log.txt
checkpoints/{best,last}.ckpt  tensorboard/  hot_pixels.json  signature.json
config_before_N.yaml, where the run was resumed with other settings; result_before_N.json, where it was complete then
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from snnlab.files import unwritable, write_json, write_text
from snnlab.record.signature import sign
from snnlab.record.tables import metric_text

SCHEMA_VERSION = 1
CONFIG, EARLIER = "config.yaml", "config_before_{}.yaml"
RESULT, EARLIER_RESULT, DAMAGED_RESULT = "result.json", "result_before_{}.json", "result_damaged.json"
METRICS, PREDICTIONS, SPLIT, CHECKPOINTS = "metrics.csv", "predictions.npz", "split.json", "checkpoints"
LOG = "log.txt"
_WARNING = re.compile(r"\S+ \S+ WARNING snnlab\.\S+: (.*)")
# How the name of a run ends that repeats the one beside it.
REPEATED = "_repeated"
_SCORES = ("test/accuracy", "test/mae", "val/accuracy", "val/mae")
Status = Literal["completed", "failed", "interrupted"]


@dataclass
class Result:
    """What a run came to; `result.json` holds the same.

    Attributes:
        status: completed, failed or interrupted.
        metrics: Flat: `test/accuracy`, `val/loss`, `test/rate_hz/<layer>`, `params`, ...; accuracies in 0..1.
        selection: Rule, epoch, how many recordings each part has, and windows and groups, where there are such; of a
            run that began with another one's weights, how many of them that one was trained on.
        timing: Seconds, samples a second, peak memory in MB.
        provenance: Versions, git, device, threads, hashes of configuration, data and split.
        resumed: One entry for each time that it was resumed: `epoch` and `batch`, from 0, that it went on with, `at`,
            and the settings that were `changed`: `{setting: [before, after]}`; where it went on under other `kernels`,
            the versions of both.
        control: What was made worthless, as `control:` says; None: nothing, the metrics are results.
        name: What the experiment is called, MODEL_DATA where it has no name of its own.
        search: Where the settings were searched for: `trials`, `chosen_by`, `val_size`, `seeds`; else None.
        error: Why it failed, or None.
        warnings: What was warned of while it trained, as `log.txt` has it, each once.
    """

    folder: Path
    status: Status
    seed: int
    metrics: dict[str, float] = field(default_factory=dict)
    selection: dict[str, Any] = field(default_factory=dict)
    timing: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    resumed: list[dict[str, Any]] = field(default_factory=list)
    control: str | None = None
    name: str | None = None
    search: dict[str, Any] | None = None
    error: str | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """What it came to, in a line."""
        return summary_line(self.folder, self.name, self.status, self.seed, self.metrics)

    def __repr__(self) -> str:
        return f"Result({self.summary})"

    def write(self) -> None:
        """Write `result.json`."""
        content = {key: value for key, value in asdict(self).items() if key != "folder"}
        write_json(self.folder / RESULT, {"schema_version": SCHEMA_VERSION, **content})


def summary_line(folder: Path, name: str | None, status: str, seed: int, metrics: Mapping[str, float]) -> str:
    """Return in a line what a run came to: `conv_lif_nmnist, seed 0: completed, test accuracy 87.1%, outputs/...`."""
    stage = next((stage for stage in ("test", "val") if any(key.startswith(f"{stage}/") for key in metrics)), "")
    figures = [f"{key.replace('/', ' ')} {metric_text(key, metrics[key])}" for key in _SCORES if key in metrics]
    shown = [text for text in figures if text.startswith(stage)][:1]
    here = Path.cwd()
    where = folder.relative_to(here) if folder.is_relative_to(here) else folder
    return ", ".join([f"{name or folder.absolute().parent.name}, seed {seed}: {status}", *shown, str(where)])


def config_text(config: Mapping[str, Any]) -> str:
    """Return an experiment as `config.yaml` holds it."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(config)))


def create_run_folder(folder: Path, text: str, plugins: Mapping[str, Path] | None = None) -> None:
    """Make the folder, write `config.yaml`, the whole truth about the experiment, and sign it; another one is kept.

    Args:
        folder: The folder; that of a run which is resumed may be there.
        text: What `config.yaml` is to hold.
        plugins: The file of each plugin that was imported.

    Raises:
        RecordError: if the folder cannot be written.
    """
    path = folder / CONFIG
    try:
        (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        before = path.read_text(encoding="utf-8") if path.is_file() else None
        sign(folder, CONFIG, text, plugins)
        if before == text:
            return
        if before is not None:
            write_text(folder / EARLIER.format(1 + len(earlier_configs(folder))), before)
        write_text(path, text)
    except OSError as error:
        raise unwritable(folder, error) from error


def earlier_configs(folder: Path) -> list[Path]:
    """Return what `config.yaml` was before the run was resumed with other settings."""
    return sorted(folder.glob(EARLIER.format("*")))


@contextmanager
def log_file(folder: Path) -> Iterator[None]:
    """Let everything that snnlab and Lightning say go to `log.txt` too."""
    handler = logging.FileHandler(folder / LOG, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # Lightning's two do not pass on to one above them.
    names = ("snnlab", "lightning.pytorch", "lightning.fabric", "py.warnings")
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addHandler(handler)
    # In a script nobody has set the level, and the epochs would not be said.
    own, level = loggers[0], loggers[0].level
    own.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        own.setLevel(level)
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


def logged_warnings(folder: Path) -> list[str]:
    """Return what snnlab has warned of in a run's log, in order, each once; of a resumed run in all of its parts."""
    path = folder / LOG
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return list(dict.fromkeys(found[1] for line in lines if (found := _WARNING.fullmatch(line))))
