"""The folder of one run: its files, its lock, and the result as a record and as tables.

config.yaml  result.json  metrics.csv  predictions.npz  split.json  trained_on.npy  log.txt
checkpoints/{best,last}.ckpt  tensorboard/  hot_pixels.json  signature.json  plugins/
config_before_N.yaml, if the run was resumed with other settings; result_before_N.json, if it was completed before
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from snnlab.console import PrintableFormatter
from snnlab.errors import RunFolderError
from snnlab.files import unwritable, write_atomically, write_json, write_npz, write_text
from snnlab.runs.signature import sign
from snnlab.runs.tables import Table, metric_text

_log = logging.getLogger(__name__)


def require_no_links(folder: Path) -> None:
    """Raise if a folder contains a link or a special file; the folder itself may be a link.

    Args:
        folder: Of a run, a search or a suite; it may not exist yet. Folders of other runs in it are not checked.
    """
    for entry in _all_entries(folder):
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            what = "a link" if entry.is_symlink() else "neither a file nor a folder"
            raise RunFolderError(entry.path, f"is {what}, so nothing is written to it", "remove it")


def _all_entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as found:
        for entry in sorted(found, key=lambda one: one.name):
            yield entry
            # A folder with a config.yaml is another run, which is checked when that run is written.
            if entry.is_dir(follow_symlinks=False) and not Path(entry.path, "config.yaml").exists():
                yield from _all_entries(Path(entry.path))


LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder, so that no other process trains in it; the lock ends with this process, even if it is killed."""
    require_no_links(folder)
    path = folder / LOCK
    lock = FileLock(path)
    try:
        path.open("a").close()  # FileLock would create a missing folder
    except OSError as error:
        raise RunFolderError(folder, f"cannot be written ({error.strerror})") from error
    try:
        lock.acquire(timeout=0.2)  # retries if the owner removes the file meanwhile
        of_this_process = path.stat()
    except Timeout as error:
        raise RunFolderError(folder, "another process is training in it") from error
    except OSError as error:
        _log.warning("%s cannot be locked (%s): do not start a second training in it", folder, error.strerror)
        yield
        return
    try:
        yield
    finally:
        # The next process may have created its own lock file by now: do not remove that one.
        if path.exists() and path.stat().st_ino == of_this_process.st_ino:
            path.unlink(missing_ok=True)  # before the release, so that a waiting process sees that it is gone
        lock.release()


def is_locked(folder: Path) -> bool:
    """Return whether another process is training in a folder."""
    if not (folder / LOCK).is_file():
        return False
    try:
        with FileLock(folder / LOCK).acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


SCHEMA_VERSION = 1
CONFIG, EARLIER_CONFIG = "config.yaml", "config_before_{}.yaml"
RESULT, EARLIER_RESULT, DAMAGED_RESULT = "result.json", "result_before_{}.json", "result_damaged.json"
METRICS, PREDICTIONS, SPLIT, CHECKPOINTS = "metrics.csv", "predictions.npz", "split.json", "checkpoints"
TRAINED_ON, HOT_PIXELS = "trained_on.npy", "hot_pixels.json"
PLUGINS = "plugins"
WEIGHTS = "weights.safetensors"  # of a packaged network, in place of checkpoints
LOG = "log.txt"
# Suffix of the name of a run that repeats the run next to it.
REPEAT_SUFFIX = "_repeated"
_SCORES = ("test/accuracy", "test/mae", "val/accuracy", "val/mae")
Status = Literal["completed", "failed", "interrupted"]
CheckpointName = Literal["best", "last"]


@dataclass
class Result:
    """The result of a run, the content of `result.json`.

    Attributes:
        status: completed, failed or interrupted.
        metrics: Flat: `test/accuracy`, `val/loss`, `test/rate_hz/<layer>`, `params`, ...; accuracies in 0..1.
        selection: Rule, epoch, number of recordings of each part, and of windows and groups if there are any; for a run
            that starts from another run's weights, the number of recordings on which that run was trained.
        timing: Seconds, samples per second, peak memory in MB.
        provenance: Versions, git, device, threads, hashes of configuration, data and split.
        resumed: One entry for each time the run was resumed: `epoch` and `batch` of the continuation, from 0, `at`,
            and the settings that were `changed`: `{setting: [before, after]}`; with other `kernels`, the versions of
            both.
        control: The ablation of a control run, the value of `control:`; None: the metrics are results.
        name: Name of the experiment, by default MODEL_DATA.
        search: The search for the settings, if any: `trials`, `chosen_by`, `val_size`, `seeds`; else None.
        error: Reason of a failure, or None.
        warnings: Warnings of the training, each once, also those before the run was resumed.
        weights: `weights_hash` of the checkpoints `best` and `last`; another file in their place is refused.
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
    weights: dict[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The result in one line."""
        return summary_line(self.folder, self.name, self.status, self.seed, self.metrics)

    def __repr__(self) -> str:
        return f"Result({self.summary})"

    def write(self) -> None:
        """Write `result.json`."""
        content = {key: value for key, value in asdict(self).items() if key != "folder"}
        write_json(self.folder / RESULT, {"schema_version": SCHEMA_VERSION, **content})


def summary_line(folder: Path, name: str | None, status: str, seed: int, metrics: Mapping[str, float]) -> str:
    """Return a run's result in one line: `conv_lif_nmnist, seed 0: completed, test accuracy 87.1%, outputs/...`."""
    stage = next((stage for stage in ("test", "val") if any(key.startswith(f"{stage}/") for key in metrics)), "")
    scores = [f"{key.replace('/', ' ')} {metric_text(key, metrics[key])}" for key in _SCORES if key in metrics]
    shown = [text for text in scores if text.startswith(stage)][:1]
    here = Path.cwd()
    where = folder.relative_to(here) if folder.is_relative_to(here) else folder
    return ", ".join([f"{name or folder.absolute().parent.name}, seed {seed}: {status}", *shown, str(where)])


def config_text(config: Mapping[str, Any]) -> str:
    """Return an experiment as the text of `config.yaml`."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(config)))


def create_run_folder(folder: Path, text: str, plugins: Mapping[str, Path] | None = None) -> None:
    """Make the folder, write `config.yaml` and sign it; a different `config.yaml` that exists is kept under a new name.

    Args:
        folder: The folder; it exists if the run is resumed.
        text: The content of `config.yaml`.
        plugins: The file of each plugin that was imported; the folder gets a copy.
    """
    path = folder / CONFIG
    try:
        (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        for name, file in (plugins or {}).items():
            copy = kept_plugin(folder, name, file)
            if copy is not None and file != copy.resolve():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
        before = path.read_text(encoding="utf-8") if path.is_file() else None
        sign(folder, CONFIG, text, plugins)
        if before == text:
            return
        if before is not None:
            write_text(folder / EARLIER_CONFIG.format(1 + len(earlier_configs(folder))), before)
        write_text(path, text)
    except OSError as error:
        raise unwritable(folder, error) from error


def kept_plugin(folder: Path, name: str, file: Path) -> Path | None:
    """Return the path of a run's copy of a plugin, or of a module of its package; None if it keeps none.

    Args:
        name: The module's name, such as `my_package.layers`.
        file: The file that it was imported from; of one that is installed there is no copy.
    """
    if file.suffix != ".py" or is_installed(file):
        return None
    path = folder.joinpath(PLUGINS, *name.split("."))
    return path / file.name if file.name == "__init__.py" else path.with_name(f"{path.name}.py")


def is_installed(file: Path) -> bool:
    """Return whether a file belongs to Python or to an installed package."""
    return any(file.is_relative_to(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib"))


def earlier_configs(folder: Path) -> list[Path]:
    """Return the earlier `config.yaml` files of a run that was resumed with other settings."""
    return sorted(folder.glob(EARLIER_CONFIG.format("*")))


def write_split(folder: Path, split: Mapping[str, Any]) -> None:
    """Write the recordings of each part, and what else is known of them."""
    write_json(folder / SPLIT, split)


def write_predictions(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the arrays of `snnlab.runs.predictions`."""
    write_npz(folder / PREDICTIONS, arrays)


def write_trained_on(folder: Path, checksums: np.ndarray) -> None:
    """Write the checksums of the recordings on which a run is trained, sorted and each once.

    Args:
        checksums: Checksum of each recording's events, from `Store.hashes`.

    Shape:
        checksums: uint64 `[N]`.
    """
    values = np.unique(checksums).astype("<u8")
    write_atomically(folder / TRAINED_ON, lambda file: np.save(file, values, allow_pickle=False))


def write_hot_pixels(folder: Path, pixels: Sequence[int]) -> None:
    """Write the indices y * W + x of the hot pixels."""
    write_json(folder / HOT_PIXELS, {"pixels": list(pixels)})


@contextmanager
def log_file(folder: Path, warnings: list[str]) -> Iterator[None]:
    """Write the log messages of snnlab and Lightning to `log.txt` too.

    Args:
        folder: The run's folder.
        warnings: snnlab's warnings are added, each once.
    """
    handler = _LogFile(folder / LOG, encoding="utf-8")
    handler.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # Lightning's two loggers do not propagate.
    names = ("snnlab", "lightning.pytorch", "lightning.fabric", "py.warnings")
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addHandler(handler)
    # In a script no level is set, so that the lines of the epochs would be missing.
    own, level = loggers[0], loggers[0].level
    collector = _WarningCollector(warnings)
    own.addHandler(collector)
    own.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        own.setLevel(level)
        own.removeHandler(collector)
        for logger in loggers:
            logger.removeHandler(handler)
        with suppress(OSError):  # of a full disk, which was reported
            handler.close()


class _LogFile(logging.FileHandler):
    """Ends with one line on the console where the file cannot be written, as on a full disk."""

    _is_broken = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self._is_broken:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._is_broken = True
        _log.warning("%s cannot be written (%s): what follows is not in it", self.baseFilename, error.strerror)


class _WarningCollector(logging.Handler):
    """Adds the first line of each warning to a list, once."""

    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        first, _, _ = record.getMessage().partition("\n")
        if record.levelno == logging.WARNING and first not in self._found:
            self._found.append(first)


def print_result(result: Result) -> None:
    """Print the result's table to stdout."""
    for table in (summary_table(result), value_table(result), layer_table(result)):
        table.print()


def summary_table(result: Result) -> Table:
    """Return a table of the run's main results."""
    metrics, selection, timing = result.metrics, result.selection, result.timing
    rows = [
        ("control", result.control or ""),
        ("test accuracy", _percent_text(metrics.get("test/accuracy"), _count_text(result, "test"))),
        ("test error", _error_text(result, "test")),
        ("validation accuracy", _percent_text(metrics.get("val/accuracy"), _count_text(result, "val"))),
        ("validation error", _error_text(result, "val")),
        ("chosen epoch", _epoch_text(selection)),
        (
            "last epoch's validation",
            _percent_text(metrics.get("last/val/accuracy"), "") or _metrics_of_values(metrics, "last/val"),
        ),
        ("spikes per test sample", _formatted(metrics.get("test/spikes_per_sample"), ",.0f", "")),
        ("parameters", _formatted(metrics.get("params"), ",.0f")),
        ("training", ", ".join(_timing_texts(timing))),
        ("peak memory", f"{_formatted(timing.get('peak_rss_mb'), ',.0f')} MB"),
    ]
    title = f"{result.name or result.folder.parent.name}, seed {result.seed}"
    return Table(("", ""), [row for row in rows if row[1]], title, (0, 1))  # rows without a value are left out


def _timing_texts(timing: Mapping[str, Any]) -> Iterator[str]:
    """Yield seconds and speed of the training; a training of no epoch has no speed."""
    units = {"fit_s": ("s", ".1f"), "samples_per_s": ("samples/s", ".0f")}
    for name, (unit, digits) in units.items():
        if timing.get(name) is not None:
            yield f"{timing[name]:{digits}} {unit}"


def value_table(result: Result) -> Table:
    """Return a table of the errors of each predicted value, on the test recordings if there was a test."""
    stage, metrics = _result_stage(result), result.metrics
    rows = [
        (name, f"{mae:.4g}", f"{metrics[f'{stage}/rmse/{name}']:.4g}", f"{metrics[f'{stage}/r2/{name}']:.3f}")
        for name, mae in _with_prefix(metrics, f"{stage}/mae/")
    ]
    return Table(("value", "mean error", "rms error", "R2"), rows, f"values of the {stage} recordings")


def layer_table(result: Result) -> Table:
    """Return a table of the spikes of each layer, on the test recordings if there was a test."""
    stage, metrics = _result_stage(result), result.metrics
    hz = ["rate (Hz)"] if any(key.startswith(f"{stage}/rate_hz/") for key in metrics) else []
    rows = [
        [
            *(layer, _formatted(spikes, ".4f")),
            *(_formatted(metrics.get(f"{stage}/rate_hz/{layer}"), ".2f") for _ in hz),
            _percent_text(metrics.get(f"{stage}/silent/{layer}"), ""),
        ]
        for layer, spikes in _with_prefix(metrics, f"{stage}/spikes_per_step/")
    ]
    head = ["layer", "spikes / neuron / step", *hz, "never fired"]
    return Table(head, rows, f"spiking layers on the {stage} recordings")


def _with_prefix(metrics: Mapping[str, float], prefix: str) -> list[tuple[str, float]]:
    return [(key.removeprefix(prefix), value) for key, value in metrics.items() if key.startswith(prefix)]


def _result_stage(result: Result) -> str:
    return "test" if any(key.startswith("test/") for key in result.metrics) else "val"


def _count_text(result: Result, stage: str) -> str:
    """Return the number of evaluated recordings, which the trainer's limits can reduce, as text."""
    if (steps := result.metrics.get(f"{stage}/labelled_steps")) is not None:
        return f" of {steps:,.0f} labelled steps"
    size = result.metrics.get(f"{stage}/recordings", result.selection.get(f"{stage}_size"))
    windows = result.metrics.get(f"{stage}/windows")
    return f" of {'' if windows is None else f'{windows:,.0f} windows of '}{size:,.0f} recordings" if size else ""


def _error_text(result: Result, stage: str) -> str:
    errors = _metrics_of_values(result.metrics, stage)
    return errors and errors + _count_text(result, stage).replace(" of ", ", ", 1)


def _metrics_of_values(metrics: Mapping[str, float], prefix: str) -> str:
    if f"{prefix}/mae" not in metrics:
        return ""
    mae, rmse, r2 = (metrics[f"{prefix}/{name}"] for name in ("mae", "rmse", "r2"))
    return f"mean {mae:.4g}, rms {rmse:.4g}, R2 {r2:.3f}"


def _epoch_text(selection: Mapping[str, Any]) -> str:
    epoch = selection.get("epoch")
    return "" if epoch is None else f"{epoch + 1} of {selection['epochs']} ({selection['rule'].replace('_', ' ')})"


def _percent_text(value: float | None, of: str) -> str:
    return "" if value is None else f"{100 * value:.1f} %{of}"


def _formatted(value: float | None, form: str, missing: str = "?") -> str:
    return missing if value is None else format(value, form)


def print_result_and_folder(result: Result) -> None:
    """Print the tables of a result, and the run folder as the last line."""
    print_result(result)
    print(result.folder, flush=True)
