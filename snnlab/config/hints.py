"""Hints for unknown settings and files, also for names from other frameworks."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from snnlab.config.folders import config_folder, group_files, groups
from snnlab.config.schema import Experiment
from snnlab.config.trainer_settings import TrainerSettings
from snnlab.errors import did_you_mean, join_names
from snnlab.spec.override_texts import is_override

# Settings of other frameworks, and the corresponding ones of snnlab.
SETTINGS = {
    "lr": "optimizer.lr",
    "learning_rate": "optimizer.lr",
    "weight_decay": "optimizer.weight_decay",
    "momentum": "optimizer.momentum",
    "optim": "optimizer",
    "optimiser": "optimizer",
    "lr_scheduler": "scheduler",
    "batch_size": "data.batch_size",
    "timesteps": "data.num_bins",
    "time_steps": "data.num_bins",
    "num_steps": "data.num_bins",
    "dt": "data.dt",
    "workers": "data.num_workers",
    "root": "data.root",
    "data_dir": "data.root",
    "data_path": "data.root",
    "download": "data.download",
    "dataset": "data",
    "max_epochs": "trainer.max_epochs",
    "epoch": "trainer.max_epochs",
    "epochs": "trainer.max_epochs",
    "num_epochs": "trainer.max_epochs",
    "n_epochs": "trainer.max_epochs",
    "steps": "trainer.max_steps",
    "gpus": "trainer.devices",
    "device": "trainer.accelerator",
    "gpu": "trainer.accelerator",
    "cuda": "trainer.accelerator",
    "clip": "trainer.gradient_clip_val",
    "grad_clip": "trainer.gradient_clip_val",
    "task_name": "name",
    "run_name": "name",
    "log_dir": "output_dir",
    "save_dir": "output_dir",
    "work_dir": "output_dir",
    "out_dir": "output_dir",
    "random_seed": "seed",
    "manual_seed": "seed",
    "exp": "experiment",
    "net": "model",
    "network": "model",
    "arch": "model",
    "criterion": "loss",
    "num_threads": "threads",
    "gamma": "scheduler.gamma",
}
_RESUME = "resume=RUN continues a run, init_from=RUN starts with its weights"
_EARLY = "callbacks=early_stopping stops when the validation loss has not fallen for some epochs"
_WANDB = "logger=wandb sends a run to Weights & Biases; logger.wandb.project=NAME"
_SEARCH = "snnlab sweep searches for better settings"
_ROOT = "data.root=FOLDER is the folder of the recordings"
_HINTS = {
    **dict.fromkeys(("ckpt_path", "checkpoint", "resume_from", "resume_from_checkpoint", "pretrained"), _RESUME),
    **dict.fromkeys(("early_stopping", "patience"), _EARLY),
    **dict.fromkeys(("wandb", "project", "entity"), _WANDB),
    "paths": f"{_ROOT}, output_dir=FOLDER that of the runs",
    "extras": "snnlab train --cfg job prints the whole configuration",
    "resume": "snnlab train resume=RUN continues a run",
    "config": "--config-dir DIR names a folder of your YAML files, experiment=NAME one of DIR/experiment",
    "verbose": "SNNLAB_DEBUG=1 shows tracebacks",
    "dropout": "is a layer: 'model.layers.NAME={type: dropout, after: LAYER}'",
    "hparams_search": _SEARCH,
    "optimized_metric": f"{_SEARCH}: sweep.objectives",
    "train": "snnlab train trains; test=false skips the test",
    "launcher": "is for several runs: snnlab train -m launcher=joblib",
}
# Files of other frameworks' groups, and the corresponding settings of snnlab.
_FILES = {
    (
        "callbacks",
        "model_checkpoint",
    ): "every run keeps the last and the chosen epoch; selection=... sets which is chosen",
    ("callbacks", "rich_progress_bar"): "the bar is built in; trainer.enable_progress_bar=false disables it",
    ("callbacks", "model_summary"): "snnlab show prints the network",
    ("callbacks", "rich_model_summary"): "snnlab show prints the network",
    ("callbacks", "default"): "checkpoints, bar and summary are built in",
    ("debug", "default"): "debug=fast trains two batches",
    ("debug", "fdr"): "debug=fast trains two batches",
    ("debug", "limit"): "trainer.limit_train_batches=0.1 trains a tenth of the batches",
    ("debug", "profiler"): "debug=profile reports the time of each part",
    ("trainer", "mps"): "write trainer.accelerator=mps",
    ("trainer", "ddp_sim"): "trainer=ddp trainer.accelerator=cpu",
    ("hparams_search", ""): "snnlab has its own search: snnlab sweep",
}


def setting_hint(name: str, experiment: Mapping[str, Any], known: Collection[str]) -> str:
    """Return the hint for an unknown setting of an experiment.

    Args:
        name: As typed.
        known: The existing settings.
    """
    if sentence := _HINTS.get(name):
        return sentence
    if "." in name:
        nested = name.replace(".", ": {") + ": ..." + "}" * name.count(".")
        return f"in a YAML file it is written {nested}"
    keys = _keys_of(name, experiment)
    if name in SETTINGS or keys:
        return f"Did you mean '{SETTINGS.get(name) or keys[0]}'?"
    if meant := did_you_mean(name.lower(), known):
        return meant.strip()
    return f"an experiment takes {join_names(known)}"


def file_hint(group: str, name: str) -> str | None:
    """Return the replacement of another framework's file, or None."""
    return _FILES.get((group, name)) or _FILES.get((group, ""))


def _keys_of(name: str, experiment: Mapping[str, Any]) -> list[str]:
    """Return the keys of the settings of this name in an experiment's groups."""
    groups = {key: node for key, node in experiment.items() if isinstance(node, Mapping)}
    layers = (experiment.get("model") or {}).get("layers") or {}
    groups |= {f"model.layers.{key}": node for key, node in layers.items() if isinstance(node, Mapping)}
    groups["trainer"] = {**{one.name: None for one in fields(TrainerSettings)}, **groups.get("trainer", {})}
    return [f"{group}.{name}" for group, node in groups.items() if group != "model" and name in node]


def option_hint(name: str, value: str) -> str:
    """Return the hint for an unknown option that is the name of a setting, `--lr 0.1`; empty for others.

    Args:
        name: As typed.
        value: Its value, or the word behind it.
    """
    word = name.lstrip("-").replace("-", "_")
    key = SETTINGS.get(word, word)
    known = {one.name for one in fields(Experiment)} | groups(config_folder())
    text = value if value and not value.startswith("-") else "VALUE"
    return f"write {key}={text}" if key.partition(".")[0] in known else ""


def word_hint(word: str, user_dir: Path | None) -> str:
    """Return the hint for an argument that is not an override.

    Args:
        word: As typed.
        user_dir: The user's folder of YAML files.
    """
    path = Path(os.path.expanduser(word))
    run = path.parent if path.name == "config.yaml" else path
    if os.path.isfile(run / "config.yaml"):
        return (
            f"; {run / 'config.yaml'} trains it again in a new folder, resume=RUN continues it, init_from=RUN starts"
            f" with its weights, snnlab reproduce RUN compares"
        )
    if path.name == "config.yaml":
        return ", and there is no such file"
    known = groups(config_folder(), user_dir)
    if path.suffix in (".yaml", ".yml"):
        group, folder = path.parent.name, path.parent.parent
        if group in known:
            return f"; --config-dir {folder} {group}={path.stem} uses this file"
        return f"; as DIR/experiment/{path.stem}.yaml it is used by --config-dir DIR experiment={path.stem}"
    if word.strip("'\"") != word and is_override(word.strip("'\"")):
        return f": it contains the quotes; write {word.strip(chr(39) + chr(34))}"
    for group in sorted(known):
        if word in group_files(group, user_dir):
            return f"; write {group}={word}"
    if re.fullmatch(r"[\w.]+\s*[:=]\s*\S*", word) and not word.startswith("="):
        key, value = re.split(r"\s*[:=]\s*", word, maxsplit=1)
        return f"; write {key}={value or 'VALUE'}, without blanks"
    if re.fullmatch(r"[A-Za-z_][\w.]*", word):
        return f"; write {word}=VALUE"
    return "; write key=value, and quote lists and mappings for the shell"
