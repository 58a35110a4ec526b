"""The folder of one run, and what `train` returns.

config.yaml  result.json  metrics.csv  predictions.npz  split.json  log.txt
checkpoints/{best,last}.ckpt  tensorboard/  hot_pixels.json  signature.json
config_before_N.yaml, where the run was resumed with other settings; result_before_N.json, where it was complete then
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from snnlab.files import unwritable, write_json, write_text
from snnlab.record.signature import sign

SCHEMA_VERSION = 1
CONFIG, EARLIER = "config.yaml", "config_before_{}.yaml"
RESULT, EARLIER_RESULT = "result.json", "result_before_{}.json"
# How the name of a run ends that repeats the one beside it.
REPEATED = "_repeated"
Status = Literal["completed", "failed", "interrupted"]


@dataclass
class Result:
    """What a run came to; `result.json` holds the same.

    Attributes:
        folder: The run's folder.
        status: completed, failed or interrupted.
        seed: The run's seed.
        metrics: Flat: `test/accuracy`, `val/loss`, `test/rate_hz/<layer>`, `params`, ...; accuracies in 0..1.
        selection: Rule, epoch and number of validation recordings.
        timing: Seconds, samples a second, peak memory in MB.
        provenance: Versions, git, device, threads, hashes of configuration, data and split.
        resumed: One entry for each time that it was resumed: `epoch` and `batch`, from 0, that it went on with, `at`,
            and the settings that were `changed`: `{setting: [before, after]}`.
        control: What was made worthless, as `control:` says; None: nothing, the metrics are results.
        search: Where the settings were searched for: `trials`, `chosen_by`, `val_size`, `seeds`; else None.
        error: Why it failed, or None.
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
    search: dict[str, Any] | None = None
    error: str | None = None

    def write(self) -> None:
        """Write `result.json`."""
        content = {key: value for key, value in asdict(self).items() if key != "folder"}
        write_json(self.folder / RESULT, {"schema_version": SCHEMA_VERSION, **content})


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
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        before = path.read_text(encoding="utf-8") if path.is_file() else None
        sign(folder, CONFIG, text, plugins)
        if before == text:
            return
        if before is not None:
            write_text(folder / EARLIER.format(1 + len(earlier_configs(folder))), before)
        write_text(path, text)
    except OSError as error:
        raise unwritable(folder, error) from error


def put_by(folder: Path) -> None:
    """Take away the result of a run that is going on; that of a complete one is kept as `result_before_N.json`."""
    path = folder / RESULT
    if not path.is_file():
        return
    if json.loads(path.read_text(encoding="utf-8")).get("status") == "completed":
        path.rename(folder / EARLIER_RESULT.format(1 + len(list(folder.glob(EARLIER_RESULT.format("*"))))))
    else:
        path.unlink()


def search_of(folder: Path) -> dict[str, Any] | None:
    """Return what a run's result, or the last one that was kept, says of the search for its settings."""
    for path in (folder / RESULT, *sorted(folder.glob(EARLIER_RESULT.format("*")), key=_number, reverse=True)):
        if path.is_file() and (found := json.loads(path.read_text(encoding="utf-8")).get("search")):
            return found
    return None


def earlier_configs(folder: Path) -> list[Path]:
    """Return what `config.yaml` was before the run was resumed with other settings."""
    return sorted(folder.glob(EARLIER.format("*")))


def _number(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])


@contextmanager
def log_file(folder: Path) -> Iterator[None]:
    """Let everything that snnlab and Lightning say go to `log.txt` too."""
    handler = logging.FileHandler(folder / "log.txt", encoding="utf-8")
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
