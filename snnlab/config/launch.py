"""How the runs of `snnlab train -m` are started: one after the other by Hydra, or several at a time by ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from snnlab.errors import ROOT, ConfigError, did_you_mean
from snnlab.intervals import Count
from snnlab.settings import check_settings, type_problem

Launcher = Literal["basic", "joblib", "submitit", "ray"]

_WORDS = ("launcher", "workers", "submitit")
# Hydra's names for what is one word here.
_HYDRAS = {"submitit_local": "launcher=submitit submitit.cluster=local", "submitit_slurm": "launcher=submitit"}


@dataclass(frozen=True)
class Launch:
    """Where the runs of a grid are trained.

    Args:
        launcher: `basic`: in this process, one after the other; `joblib`: in processes of this machine; `submitit`: in
            a cluster's queue; `ray`.
        workers: Runs at the same time.
        submitit: Parameters of submitit's executor, such as {cluster: slurm, slurm_partition: gpu}.
    """

    launcher: Launcher = "basic"
    workers: Count = 2
    submitit: Mapping[str, Any] | None = None

    @property
    def engine(self) -> str:
        """The name of the engine of `snnlab.search.workers`."""
        return "here" if self.launcher == "basic" else self.launcher

    @property
    def slots(self) -> int:
        """How many are trained at the same time."""
        return 1 if self.launcher == "basic" else self.workers

    @property
    def places(self) -> tuple[str, str, str]:
        """What the user calls the engine, submitit's parameters, and the engine of one process."""
        return "launcher", "submitit", "basic"


def shares_gpus(trainer: Mapping[str, Any]) -> bool:
    """Return whether trainings with such a trainer can be given a GPU each, where there are several.

    Not those that are for the CPU, for several devices, or for a certain one.
    """
    kinds, one = ("auto", "gpu", "cuda"), (1, "1", "auto")
    return trainer.get("accelerator", "auto") in kinds and trainer.get("devices", "auto") in one


def split_launch(arguments: Sequence[str]) -> tuple[Launch, list[str]]:
    """Return what `launcher=WORD workers=N submitit.KEY=VALUE` ask for, and the other arguments.

    Raises:
        ConfigError: for an unknown launcher, a wrong value, one of these words without `-m`, or one that is misspelt.
    """
    ours = [text for text in arguments if "=" in text and text.partition("=")[0].partition(".")[0] in _WORDS]
    others = [text for text in arguments if text not in ours]
    from snnlab.config.typed import require_no_slip

    for text in others:
        if "=" in text and text.partition("=")[0].isalpha():
            require_no_slip(text, _WORDS, None)
    if ours and not {"-m", "--multirun"} & set(arguments):
        raise ConfigError(ours[0], "is for several runs", "write snnlab train -m")
    return _checked(_values(ours)), others


def _checked(values: Mapping[str, Any]) -> Launch:
    word = values.get("launcher", "basic")
    if isinstance(word, str) and (problem := type_problem(word, Launcher)):
        hint = f"write {_HYDRAS[word]}" if word in _HYDRAS else did_you_mean(word, get_args(Launcher))
        raise ConfigError("launcher", problem, hint)
    check_settings(Launch, values, ROOT, "a launcher")
    launch = Launch(**values)
    if launch.launcher == "basic" and len(values) > ("launcher" in values):
        raise ConfigError("launcher", "basic trains one run after the other", "with workers or submitit name another")
    return launch


def _values(texts: Sequence[str]) -> dict[str, Any]:
    from snnlab.config.typed import one_value, put

    values: dict[str, Any] = {}
    for text in texts:
        put(values, *one_value(text))
    return values
