"""The folder of one run: locked by the process that trains in it, written whole or not at all.

config.yaml  result.json  metrics.csv  predictions.npz  split.json  trained_on.npy  log.txt
checkpoints/{best,last}.ckpt  tensorboard/  hot_pixels.json  signature.json
config_before_N.yaml, where the run was resumed with other settings; result_before_N.json, where it was complete then
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from snnlab.errors import RecordError
from snnlab.files import unwritable, write_json, write_text
from snnlab.runs.signature import sign
from snnlab.runs.tables import Table, metric_text

_log = logging.getLogger(__name__)


def require_no_links(folder: Path) -> None:
    """Raise if something in a folder is a link, or neither a file nor a folder; the folder itself may be linked.

    Args:
        folder: Of a run, a search or a suite, or one that is not there yet. Other runs in it are looked at by whoever
            writes them.

    Raises:
        RecordError: naming the first one.
    """
    for entry in _entries(folder):
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            what = "a link" if entry.is_symlink() else "neither a file nor a folder"
            raise RecordError(entry.path, f"is {what}, and nothing is written through it", "remove it")


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as found:
        for entry in sorted(found, key=lambda one: one.name):
            yield entry
            # Folders of a run's own, and of a search's; those of further runs hold a page, and are runs of their own.
            if entry.is_dir(follow_symlinks=False) and not Path(entry.path, "config.yaml").exists():
                yield from _entries(Path(entry.path))


LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder; the lock ends with this process, however that ends.

    Raises:
        RecordError: if another process trains in it, it holds links, or it cannot be written.
    """
    require_no_links(folder)
    path = folder / LOCK
    lock = FileLock(path)
    try:
        path.open("a").close()  # or FileLock would make the folder
    except OSError as error:
        raise RecordError(folder, f"cannot be written ({error.strerror})") from error
    try:
        lock.acquire(timeout=0.2)  # one that its owner removes meanwhile is opened anew
        of_this_process = path.stat()
    except Timeout as error:
        raise RecordError(folder, "another process trains in it at this moment") from error
    except OSError as error:
        _log.warning("%s cannot be locked (%s): do not train in it twice at once", folder, error.strerror)
        yield
        return
    try:
        yield
    finally:
        # Of the next process, which may have its own file there by now, the lock is left alone.
        if path.exists() and path.stat().st_ino == of_this_process.st_ino:
            path.unlink(missing_ok=True)  # while it is held: who waits for it sees that it is gone
        lock.release()


def is_locked(folder: Path) -> bool:
    """Return whether another process trains in a folder at this moment."""
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


_PARTS = {"test": "test", "val": "validation"}


def print_result(result: Result) -> None:
    """Print the result's table to stdout."""
    for table in (summary_table(result), value_table(result), layer_table(result)):
        table.print()


def summary_table(result: Result) -> Table:
    """Return the run's main figures."""
    metrics, selection, timing = result.metrics, result.selection, result.timing
    rows = [
        ("control", result.control or ""),
        ("test accuracy", _percent(metrics.get("test/accuracy"), _of(result, "test"))),
        ("test error", _error(result, "test")),
        ("trained on before", _trained_before(selection)),
        ("validation accuracy", _percent(metrics.get("val/accuracy"), _of(result, "val"))),
        ("validation error", _error(result, "val")),
        ("chosen epoch", _chosen(selection)),
        ("last epoch's validation", _percent(metrics.get("last/val/accuracy"), "") or _errors(metrics, "last/val")),
        ("spikes a test sample", _number(metrics.get("test/spikes_per_sample"), ",.0f", "")),
        ("parameters", _number(metrics.get("params"), ",.0f")),
        (
            "training",
            f"{_number(timing.get('fit_s'), '.1f')} s, {_number(timing.get('samples_per_s'), '.0f')} samples/s",
        ),
        ("peak memory", f"{_number(timing.get('peak_rss_mb'), ',.0f')} MB"),
    ]
    title = f"{result.name or result.folder.parent.name}, seed {result.seed}"
    return Table(("", ""), [row for row in rows if row[1]], title, (0, 1))  # nothing stands for what was not measured


def value_table(result: Result) -> Table:
    """Return how near each of several values came, on the test recordings if there was a test."""
    stage, metrics = _shown(result), result.metrics
    rows = [
        (name, f"{mae:.4g}", f"{metrics[f'{stage}/rmse/{name}']:.4g}", f"{metrics[f'{stage}/r2/{name}']:.3f}")
        for name, mae in _below(metrics, f"{stage}/mae/")
    ]
    return Table(("value", "mean error", "rms error", "R2"), rows, f"values of the {stage} recordings")


def layer_table(result: Result) -> Table:
    """Return what each spiking layer did, on the test recordings if there was a test."""
    stage, metrics = _shown(result), result.metrics
    hz = ["rate (Hz)"] if any(key.startswith(f"{stage}/rate_hz/") for key in metrics) else []
    rows = [
        [
            *(layer, _number(spikes, ".4f")),
            *(_number(metrics.get(f"{stage}/rate_hz/{layer}"), ".2f") for _ in hz),
            _percent(metrics.get(f"{stage}/silent/{layer}"), ""),
        ]
        for layer, spikes in _below(metrics, f"{stage}/spikes_per_step/")
    ]
    head = ["layer", "spikes / neuron / step", *hz, "never fired"]
    return Table(head, rows, f"spiking layers on the {stage} recordings")


def _below(metrics: Mapping[str, float], prefix: str) -> list[tuple[str, float]]:
    return [(key.removeprefix(prefix), value) for key, value in metrics.items() if key.startswith(prefix)]


def _shown(result: Result) -> str:
    return "test" if any(key.startswith("test/") for key in result.metrics) else "val"


def _of(result: Result, stage: str) -> str:
    """Return what was evaluated, of which the limits of the trainer can make less than there is."""
    if (steps := result.metrics.get(f"{stage}/labelled_steps")) is not None:
        return f" of {steps:,.0f} labelled steps"
    size = result.metrics.get(f"{stage}/recordings", result.selection.get(f"{stage}_size"))
    windows = result.metrics.get(f"{stage}/windows")
    return f" of {'' if windows is None else f'{windows:,.0f} windows of '}{size:,.0f} recordings" if size else ""


def _error(result: Result, stage: str) -> str:
    errors = _errors(result.metrics, stage)
    return errors and errors + _of(result, stage).replace(" of ", ", ", 1)


def _errors(metrics: Mapping[str, float], prefix: str) -> str:
    """Return the figures of values; nothing where the targets are others."""
    if f"{prefix}/mae" not in metrics:
        return ""
    mae, rmse, r2 = (metrics[f"{prefix}/{name}"] for name in ("mae", "rmse", "r2"))
    return f"mean {mae:.4g}, rms {rmse:.4g}, R2 {r2:.3f}"


def _trained_before(selection: Mapping[str, Any]) -> str:
    """Return how many of the recordings that say how good it is the run of `init_from` was trained on."""
    found = selection.get("trained_before") or {}
    parts = [(words, found.get(part), selection[f"{part}_size"]) for part, words in _PARTS.items() if found.get(part)]
    return ", ".join(f"{many:,} of {size:,} {words} recordings" for words, many, size in parts)


def _chosen(selection: Mapping[str, Any]) -> str:
    epoch = selection.get("epoch")
    return "" if epoch is None else f"{epoch + 1} of {selection['epochs']} ({selection['rule'].replace('_', ' ')})"


def _percent(value: float | None, of: str) -> str:
    return "" if value is None else f"{100 * value:.1f} %{of}"


def _number(value: float | None, form: str, missing: str = "?") -> str:
    return missing if value is None else format(value, form)


def say_result(result: Result) -> None:
    """Print what a run came to, and its folder as the last line."""
    print_result(result)
    print(result.folder, flush=True)
