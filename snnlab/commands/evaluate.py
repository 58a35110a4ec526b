"""`snnlab evaluate`: a recorded run's network on recordings: what is right, class by class and over time."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnlab.commands.early import Early, asked_early, told_early
from snnlab.commands.options import split_options, split_run
from snnlab.errors import ConfigError, listing

if TYPE_CHECKING:
    import numpy as np

    from snnlab.commands.early import Anytime
    from snnlab.config.schema import Experiment
    from snnlab.data.module import EventDataModule
    from snnlab.data.registry import Dataset

_log = logging.getLogger(__name__)

USAGE = """usage: snnlab evaluate RUN [--split test|val|train] [--checkpoint best|last] [--out FOLDER] [--anytime]
                       [--accuracy PART] [OVERRIDES]

Let the network of a run answer to recordings again: its own test recordings, another part, other bins, another dataset.
The overrides go on top of the run's config.yaml. Written are result.json, predictions.npz, and pictures of which class
was taken for which and of the accuracy over time (of values, of the error over time), into RUN/evaluations/... or
FOLDER, whose path is printed last. Of another split, test and validation recordings that the run was trained on are
refused.

--anytime tells what comes out if a recording is answered as soon as the network is sure enough: accuracy, mean latency
and mean spikes until the answer, at a dozen thresholds of the running readout's probability; also as anytime.csv and
anytime.png. --accuracy 0.95 chooses the threshold itself, as the one that reaches so much soonest on validation
recordings, and applies it to the test recordings once.

  snnlab evaluate outputs/NAME/TIME_SEED
  snnlab evaluate RUN --split val --checkpoint last
  snnlab evaluate RUN --anytime --accuracy 0.95
  snnlab evaluate RUN data.num_bins=64              in steps half as long
  snnlab evaluate RUN data=nmnist data.root=FOLDER  on other recordings of as many classes
"""
SPLITS = ("test", "val", "train")
CHECKPOINTS = ("best", "last")


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, others = split_options("evaluate", arguments)
    run, overrides = split_run(others)
    if run is None:
        raise ConfigError("evaluate", "the first argument is a run's folder, such as outputs/NAME/TIME_SEED")
    part, checkpoint = options.get("--split", "test"), options.get("--checkpoint", "best")
    check_asked(part, checkpoint, options.get("--out"))
    early = asked_early(options.get("--accuracy"), part) if {"--anytime", "--accuracy"} & {*options} else None

    from snnlab.console import console_logging, say, until_nobody_reads

    console_logging()
    where = (options.get("--config-dir"), part, checkpoint, options.get("--out"))
    values, folder = evaluate_run(run, overrides, *where, early)
    with until_nobody_reads():
        for line in lines(values):
            say(line)
        print(folder)
    return 0


def evaluate_run(
    run: Path,
    overrides: list[str],
    config_dir: str | None,
    part: str,
    checkpoint: str,
    out: str | Path | None,
    early: Early | None = None,
) -> tuple[dict[str, Any], Path]:
    """Evaluate a run with overrides; see `evaluate`."""
    from snnlab.config.of_run import compose_run

    check_asked(part, checkpoint, out)
    experiment = compose_run(run, overrides, config_dir, "data")
    with experiment.located_errors():
        folder = None if out is None else Path(out).expanduser()
        return evaluate(run, experiment, part, checkpoint, folder, overrides, early)


def check_asked(part: str, checkpoint: str, out: str | Path | None) -> None:
    """Refuse a part or a checkpoint that does not exist, and a run's folder to write into."""
    from snnlab.record.run_reading import is_run

    _one_of("--split", part, SPLITS)
    _one_of("--checkpoint", checkpoint, CHECKPOINTS)
    if out is not None and is_run(Path(out).expanduser()):
        raise ConfigError("evaluate", f"--out: {out} is a run's folder, whose own result would be lost", "name another")


def evaluate(
    run: Path,
    experiment: Experiment,
    part: str,
    checkpoint: str,
    out: Path | None,
    overrides: list[str],
    early: Early | None = None,
) -> tuple[dict[str, Any], Path]:
    """Evaluate, write the record, and return it with its folder.

    Args:
        part: The recordings: `test`, `val` or `train`.
        checkpoint: Whose weights: `best` or `last`.
        out: Where to write; None: in the run's folder.
        overrides: What is different, for the record.
        early: Whether recordings are answered before their end too, and how well.

    Raises:
        SnnlabError: for a mistake in the overrides, the data or the run.
    """
    from snnlab.commands.loading import assembled_run
    from snnlab.commands.testing import costs
    from snnlab.commands.trained_before import require_not_trained_on
    from snnlab.config import assemble
    from snnlab.console import quiet_lightning
    from snnlab.nn.operations import counted
    from snnlab.record.predictions import Predictions, layer_names

    settings, loss, built, dataset, data = assembled_run(run, experiment, "last" if checkpoint == "last" else "best")
    for answered in {part, "val"} if early and early.accuracy is not None else {part}:
        if answered != "train":
            require_not_trained_on(run, data, answered)
    _choose(data, part)
    if early:
        early.check(experiment, settings, data)
    if not any(override.lstrip("+~").startswith("data") for override in overrides):
        _tell_other_recordings(run, data.store.fingerprint)
    folder = out or _own_folder(run, part, checkpoint)
    with quiet_lightning():
        optimizer = assemble.optimizer(experiment, built)
        module = assemble.module(experiment, settings, built, loss, optimizer, dataset.class_names)
        predictions = Predictions("test", data.groups)
        quiet = replace(experiment, logger=None, callbacks=None)
        trainer = assemble.trainer(quiet, folder, [predictions])
        # As in the training: a first convolution of events differs from one of frames in the last digits.
        assemble.first_layer(experiment, built, data, assemble.backend(experiment, trainer.strategy.root_device))
        with counted(module.network) as operations:
            (found,) = trainer.test(module, datamodule=data, verbose=False)
        anytime = early.find(predictions.arrays(), trainer, module, data) if early else None
    found = {**found, **costs(operations.totals(), "test")}
    plain = {**predictions.arrays(), **(anytime.arrays if anytime else {})}
    arrays = {name.replace("test_", f"{part}_", 1): values for name, values in plain.items()}
    values = _record(experiment, dataset, data, part, checkpoint, overrides, dict(found), arrays)
    if anytime:
        values["anytime"] = anytime.record
    _write(folder, values, {"layers": layer_names(built.spiking), **arrays}, settings.step_ms, anytime)
    return values, folder


def lines(values: dict[str, Any]) -> list[str]:
    """Return what was found, in words."""
    metrics, part = values["metrics"], values["split"]
    if values["targets"] == "value":
        mae, rmse, r2 = (metrics[f"{part}/{name}"] for name in ("mae", "rmse", "r2"))
        score = f"mean error {mae:.4g}, rms error {rmse:.4g}, R2 {r2:.3f}"
    else:
        score = f"accuracy {metrics[f'{part}/accuracy']:.1%}"
    told = [f"control: {values['control']}: the figures are no result"] if values.get("control") else []
    windows = f"{values['windows']:,} windows of " if "windows" in values else ""
    told += [
        f"{windows}{values['recordings']:,} {part} recordings, weights of the {values['checkpoint']} epoch:"
        f" {score}, loss {metrics[f'{part}/loss']:.4f}"
    ]
    names = values.get("accuracy_of_class", {})
    width = max(map(len, names), default=0)
    for name, (right, of) in names.items():
        told.append(f"  {name:{width}}  {right:>6,} of {of:>6,}" + (f"  {right / of:6.1%}" if of else ""))
    return [*told, *told_early(values["anytime"])] if "anytime" in values else told


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError("evaluate", f"{option} must be one of {listing(allowed)}, got {value}")


def _choose(data: EventDataModule, part: str) -> None:
    chosen = getattr(data.split, part)
    if not chosen.size:
        raise ConfigError("evaluate", f"there are no {part} recordings")
    data.split = replace(data.split, test=chosen)


def _tell_other_recordings(run: Path, fingerprint: str) -> None:
    """Warn where the same settings lead to other recordings than those of the run."""
    from snnlab.record.run_reading import read_ended

    recorded = read_ended(run)
    if recorded is not None and recorded.provenance.get("data_fingerprint") not in (None, fingerprint):
        _log.warning("the recordings are not those that %s was trained and tested on: what is read has changed", run)


def _own_folder(run: Path, part: str, checkpoint: str) -> Path:
    from datetime import datetime

    from snnlab.record.lock import require_no_links

    require_no_links(run)
    return run / "evaluations" / f"{part}_{checkpoint}_{datetime.now():%Y-%m-%d_%H-%M-%S.%f}"[:-3]


def _record(
    experiment: Experiment,
    dataset: Dataset,
    data: EventDataModule,
    part: str,
    checkpoint: str,
    overrides: list[str],
    found: dict[str, float],
    arrays: dict[str, np.ndarray],
) -> dict[str, Any]:
    import numpy as np

    from snnlab.record.evaluation import findings

    names = dataset.class_names or [str(number) for number in range(dataset.num_classes)]
    targets, readout, answers = (arrays[f"{part}_{what}"] for what in ("target", "readout", "answers"))
    return {
        "split": part,
        "checkpoint": checkpoint,
        "overrides": overrides,
        "data": experiment.data["type"],
        "data_fingerprint": data.store.fingerprint,
        "recordings": int(np.unique(arrays[f"{part}_recording"]).size),
        **({} if data.windows is None else {"windows": len(targets)}),
        "targets": data.settings.targets,
        "control": experiment.control,
        "metrics": {name.replace("test/", f"{part}/", 1): float(value) for name, value in found.items()},
        **findings(targets, readout, answers, names),
    }


def _write(
    folder: Path, values: dict[str, Any], arrays: dict[str, np.ndarray], dt: float | None, anytime: Anytime | None
) -> None:
    from matplotlib.image import imsave

    from snnlab.files import unwritable, write_json, write_npz, write_text
    from snnlab.record.anytime import as_csv
    from snnlab.record.pictures.answers import draw_anytime, draw_findings
    from snnlab.record.pictures.style import default_style, render

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_npz(folder / "predictions.npz", arrays)
        with default_style():
            drawn = []
            if anytime:
                drawn.append(("anytime", draw_anytime(anytime.rows, anytime.clock, anytime.chosen)))
            names, each = list(values.get("accuracy_of_class", ())), values["targets"] == "steps"
            for name, figure in (*draw_findings(values, names, dt, labelled_steps=each), *drawn):
                imsave(folder / f"{name}.png", render(figure))
        if anytime:
            write_text(folder / "anytime.csv", as_csv(anytime.rows, anytime.clock))
        write_json(folder / "result.json", values)
    except OSError as error:
        raise unwritable(folder, error) from error
