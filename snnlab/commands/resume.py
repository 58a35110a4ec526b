"""`snnlab train resume=RUN`: a run that was killed, interrupted, or is to be trained for longer, goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnlab.errors import ConfigError, RecordError
from snnlab.masking import masked

if TYPE_CHECKING:
    from snnlab.config.schema import Experiment
    from snnlab.kernels.function import Backend
    from snnlab.record.run_folder import Result
    from snnlab.training.resuming.resumption import Resumption

_log = logging.getLogger(__name__)
_KEY = "resume="


def run_to_resume(overrides: Sequence[str]) -> tuple[Path, list[str]] | None:
    """Return the run that overrides ask to resume, and the other overrides; None if they do not.

    Raises:
        ConfigError: if they name none, or more than one, or all but spell the word.
    """
    for key in (text.partition("=")[0].lstrip("+") for text in overrides if "=" in text):
        if key != "resume" and get_close_matches(key, ["resume"], cutoff=0.8):
            raise ConfigError("", f"there is no setting '{key}'. Did you mean 'resume'?")
    for text in overrides:
        if text.startswith(f"+{_KEY}"):
            raise ConfigError(text, "is no setting to add", "leave out the +")
    asked = [text.removeprefix(_KEY) for text in overrides if text.startswith(_KEY)]
    if not asked:
        return None
    if len(asked) > 1 or not asked[0] or asked[0] == "null":
        raise ConfigError("resume", "name one run's folder, such as resume=outputs/NAME/TIME_SEED")
    return Path(asked[0]).expanduser(), [text for text in overrides if not text.startswith(_KEY)]


def resume(
    run: Path,
    overrides: Sequence[str],
    config_dir: str | Path | None,
    started: float,
    command: Sequence[str] | None = None,
    begun: Callable[[], Experiment] | None = None,
) -> Result:
    """Let a run go on from its newest checkpoint, and return its result; that of a complete one is returned at once.

    Args:
        overrides: What is different from now on; see `snnlab.config.resumable`.
        started: `time.perf_counter()` when the command began.
        command: What was typed for it; None: nothing, something else goes on with it.
        begun: Composes the experiment that this process was told to train, where that is how it came to the run.

    Raises:
        SnnlabError: for a setting that cannot change, a damaged checkpoint, other recordings.
    """
    from snnlab.config.of_run import compose_run
    from snnlab.config.resumable import changes
    from snnlab.record.lock import locked

    before = compose_run(run, (), config_dir, "record")
    now = compose_run(run, overrides, config_dir, "training", begun)
    changed = changes(before.record or {}, now.record or {})
    folder = run.absolute()
    with locked(folder):
        done = completed(folder, run)
        if done is not None and "trainer.max_epochs" not in changed:
            _log.info("%s is complete; there is nothing to resume", run)
            return done
        resumption = read_resumption(folder, changed, longer=_other_schedule(before, now, changed))
        said = command or ("snnlab", "train", f"resume={run}", *overrides)
        kernels = other_kernels(resumption.node, now.backend)
        resumption = replace(resumption, command=[masked(word) for word in said], kernels=kernels)
        if resumption.checkpoint is not None:
            now = replace(now, init_from=None)  # its weights are in the checkpoint
        check_epochs(now.trainer.get("max_epochs"), resumption)
        return _go_on(now, folder, started, resumption)


def completed(folder: Path, run: Path) -> Result | None:
    """Return the result of a run that is complete, else None: one whose files cannot be read is tested once more.

    Args:
        run: The same as it was named.
    """
    from snnlab.errors import DamagedError
    from snnlab.record.run_folder import Result
    from snnlab.record.run_reading import read_ended

    try:
        recorded = read_ended(folder)
        if recorded is None or recorded.status != "completed":
            return None
        recorded.check_files()
    except DamagedError as error:
        _log.warning("%s: %s cannot be read (%s) and is written anew", run, error.path.name, error.reason)
        return None
    known = {field.name for field in fields(Result)}
    said = {key: value for key, value in recorded.page.items() if key in known}
    return Result(folder, **{**said, "name": recorded.name})


def read_resumption(folder: Path, changed: Mapping[str, Any], *, longer: bool) -> Resumption:
    """Read what a run goes on from.

    Raises:
        RecordError: if its checkpoint is damaged, or not its own.
    """
    from snnlab.record.provenance import config_hash
    from snnlab.record.run_folder import CONFIG, earlier_configs
    from snnlab.training.checkpoints import read_checkpoint
    from snnlab.training.resuming.resumption import Resumption
    from snnlab.training.resuming.snapshots import FORMAT, NODE

    now = datetime.now().astimezone().isoformat(timespec="seconds")
    path = folder / "checkpoints" / "last.ckpt"
    if not path.is_file():
        _log.info("%s has no checkpoint yet and begins anew", folder.name)
        return Resumption(None, {}, changed, now)
    checkpoint = read_checkpoint(path)
    node = checkpoint.get(NODE)
    if not isinstance(node, Mapping) or node.get("format") != FORMAT:
        raise RecordError(path, "this version of snnlab cannot resume from it", f"init_from={folder} takes its weights")
    texts = [config.read_text(encoding="utf-8") for config in (folder / CONFIG, *earlier_configs(folder))]
    if node["config_hash"] not in map(config_hash, texts):
        raise RecordError(folder, f"its {CONFIG} is not the one that its checkpoint was made with")
    return Resumption(path, {**node, "states": list(checkpoint["callbacks"])}, changed, now, longer)


def other_kernels(node: Mapping[str, Any], backend: Backend) -> tuple[int | None, ...]:
    """Return the versions of the kernels before and now where they are two, else nothing.

    Args:
        node: What snnlab keeps in a checkpoint; empty where there is no checkpoint. One of a run that began before
            versions were counted has none.
        backend: What runs the neurons, as the experiment says.
    """
    from snnlab.kernels.function import FIRST_KERNELS, kernels_of

    now = kernels_of(backend)
    before = node.get("kernels", None if now is None else FIRST_KERNELS)
    before = before if isinstance(before, int) else None
    return (before, now) if node and before != now else ()


def check_epochs(wanted: Any, resumption: Resumption) -> None:
    """Raise if fewer epochs are asked for than are trained."""
    begun = resumption.position.epoch + (resumption.position.batch > 0)
    if isinstance(wanted, int) and 0 <= wanted < begun:
        raise ConfigError("trainer.max_epochs", f"the run has begun its epoch {begun} already", f"set {begun} or more")


def _other_schedule(before: Experiment, now: Experiment, changed: Mapping[str, Any]) -> bool:
    """Return whether the learning rate is to follow another schedule; those of ours are as long as the run."""
    over_the_run = "type" in (now.scheduler or {}) and "trainer.max_epochs" in changed
    return before.scheduler != now.scheduler or over_the_run


def _go_on(experiment: Experiment, folder: Path, started: float, resumption: Resumption) -> Result:
    from snnlab.commands.fit import fit_and_test
    from snnlab.commands.train import assembled
    from snnlab.console import quiet_lightning

    with experiment.located_errors(), quiet_lightning():
        if experiment.threads is None and resumption.node:  # sums differ in their last digits with other numbers
            experiment = replace(experiment, threads=resumption.node["threads"])
        module, data, built = assembled(experiment, folder)
        return fit_and_test(experiment, folder, module, data, built, started, resumption)
