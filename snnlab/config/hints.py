"""What was probably meant by a setting or a file that is not there, for whoever comes from another framework."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from snnlab.config.trainer_settings import TrainerSettings
from snnlab.errors import did_you_mean, listing

# Settings of other frameworks, and what does it here.
SETTINGS = {
    "learning_rate": "optimizer.lr",
    "epochs": "trainer.max_epochs",
    "num_epochs": "trainer.max_epochs",
    "n_epochs": "trainer.max_epochs",
    "steps": "trainer.max_steps",
    "gpus": "trainer.devices",
    "timesteps": "data.num_bins",
    "num_steps": "data.num_bins",
    "workers": "data.num_workers",
    "task_name": "name",
    "device": "trainer.accelerator",
}
_SENTENCES = {
    "ckpt_path": "resume=RUN goes on with a run, init_from=RUN begins with its weights",
    "checkpoint": "resume=RUN goes on with a run, init_from=RUN begins with its weights",
    "resume_from_checkpoint": "resume=RUN goes on with a run, init_from=RUN begins with its weights",
    "tags": "runs have no tags; name=WORD gives an experiment's runs a folder of their own",
    "paths": "data.root=FOLDER is where recordings are, output_dir=FOLDER where runs go",
    "data_dir": "data.root=FOLDER is where recordings are",
    "extras": "snnlab train --cfg job prints the whole configuration",
    "hparams_search": "snnlab sweep searches for better settings",
    "optimized_metric": "snnlab sweep searches for better settings: sweep.objectives",
    "train": "snnlab train trains; test=false leaves out the test",
    "launcher": "is for several runs: snnlab train -m launcher=joblib",
}
# Files of other frameworks' groups, and what does it here.
_FILES = {
    (
        "callbacks",
        "model_checkpoint",
    ): "every run keeps the last and the chosen epoch; selection=... says which is chosen",
    ("callbacks", "rich_progress_bar"): "the bar is built in; trainer.enable_progress_bar=false leaves it out",
    ("callbacks", "model_summary"): "snnlab show prints the network",
    ("callbacks", "rich_model_summary"): "snnlab show prints the network",
    ("callbacks", "default"): "checkpoints, bar and summary are built in",
    ("debug", "default"): "debug=fast trains two batches",
    ("debug", "fdr"): "debug=fast trains two batches",
    ("debug", "limit"): "trainer.limit_train_batches=0.1 trains a tenth of the batches",
    ("debug", "profiler"): "debug=profile says where the time goes",
    ("trainer", "mps"): "trainer.accelerator=mps",
    ("trainer", "ddp_sim"): "trainer=ddp trainer.accelerator=cpu",
    ("hparams_search", ""): "snnlab has its own search: snnlab sweep",
}


def of_setting(name: str, experiment: Mapping[str, Any], known: Collection[str]) -> str:
    """Return what to say of a setting that an experiment has not, as a sentence behind a blank.

    Args:
        name: As typed.
        experiment: What was composed.
        known: The settings that there are.
    """
    if sentence := _SENTENCES.get(name):
        return f"; {sentence}"
    if "." in name:
        nested = name.replace(".", ": {") + ": ..." + "}" * name.count(".")
        return f"; in a YAML file it is written {nested}"
    places = _places(name, experiment)
    if name in SETTINGS or places:
        return f". Did you mean '{SETTINGS.get(name) or places[0]}'?"
    if meant := did_you_mean(name.lower(), known):
        return f".{meant}"
    return f"; an experiment takes {listing(known)}"


def of_file(group: str, name: str) -> str | None:
    """Return what does what a file of another framework does, or None."""
    return _FILES.get((group, name)) or _FILES.get((group, ""))


def _places(name: str, experiment: Mapping[str, Any]) -> list[str]:
    """Return where in an experiment's groups there is a setting of this name."""
    groups = {key: node for key, node in experiment.items() if isinstance(node, Mapping)}
    groups["trainer"] = {**{one.name: None for one in fields(TrainerSettings)}, **groups.get("trainer", {})}
    return [f"{group}.{name}" for group, node in groups.items() if group != "model" and name in node]
