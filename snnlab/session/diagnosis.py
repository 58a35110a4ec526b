"""Whose network `snnlab doctor` looks at: what the user typed, and what is tried on top of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from snnlab.analysis.findings import undecided, waking
from snnlab.analysis.fixes import Case, Exam
from snnlab.analysis.layer_statistics import measure
from snnlab.config.compose import compose_once
from snnlab.config.overrides import rivals_of
from snnlab.config.recorded_run import compose_run
from snnlab.config.schema import Experiment
from snnlab.data.data_module import EventDataModule
from snnlab.data.events.frames import Batch
from snnlab.errors import SnnlabError
from snnlab.nn.layer import Counts
from snnlab.seeds import Stream, derived_seed
from snnlab.session import Session
from snnlab.training.module import batch_loss


class Patient(NamedTuple):
    """Whose network is looked at: as `snnlab train` would begin with it, or a run's.

    Attributes:
        run: The run's folder, or None.
        config_dir: The user's folder, or None.
    """

    run: Path | None
    overrides: list[str]
    config_dir: str | None

    def experiment(self, more: Sequence[str]) -> tuple[Experiment, Path]:
        """Compose the experiment with further overrides; its neurons run by a backend that needs no compiling."""
        overrides = merged(self.overrides, more)
        if self.run is None:
            experiment, folder = compose_once(overrides, self.config_dir)
        else:
            experiment, folder = compose_run(self.run, overrides, self.config_dir, "data"), self.run
        plain = {"backend": "reference", "fuse": False, "recompute": 0, "logger": None, "callbacks": None}
        return replace(experiment, **plain), folder


def merged(overrides: Sequence[str], more: Sequence[str]) -> list[str]:
    """Return overrides with further ones, which take the place of those that say the same, in the same words or not."""
    keys = {key for text in more for key in (_key(text), *rivals_of(_key(text)))}
    return [*(text for text in overrides if _key(text) not in keys), *more]


def _key(text: str) -> str:
    return text.lstrip("+").partition("=")[0]


class Clinic:
    """Builds a patient's network under overrides and looks at it, always on the same batch where the data allow it."""

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        self._seen: tuple[object, EventDataModule, Batch] | None = None

    def trial(self, more: Sequence[str]) -> Exam | None:
        """Return the exam under further overrides, or None where the configuration refuses them: no cure then."""
        try:
            return self.exam(*self.patient.experiment(more))
        except SnnlabError:
            return None

    def exam(self, experiment: Experiment, folder: Path) -> Exam:
        """Return the exam of an experiment.

        Raises:
            SnnlabError: for a mistake in the configuration, the data or the run.
        """
        with experiment.located_errors():
            return self._exam(experiment, folder)

    def _exam(self, experiment: Experiment, folder: Path) -> Exam:
        same = self._seen is not None and self._seen[0] == experiment.data
        session = Session(experiment, folder, run=self.patient.run, data=self._seen[1] if same and self._seen else None)
        session.use_threads()
        session.build("network", "loss")
        settings, (make_optimizer, _), device = session.settings, session.optimization, session.processes.device
        network, loss = session.network.to(device), session.counted_loss.to(device)
        if not same or self._seen is None:
            self._seen = experiment.data, session.data, session.data.first_batch(device)
        batch = self._seen[2]

        def objective(y: torch.Tensor, counts: Counts) -> torch.Tensor:
            return batch_loss(loss, y, batch, counts)[0]

        torch.manual_seed(derived_seed(experiment.seed, Stream.DROPOUT, 0, 0))
        x, lengths = batch.x, batch.lengths
        vitals = measure(network, x, lengths, objective, dt=settings.step_ms, make_optimizer=make_optimizer)
        if names := undecided(vitals):
            vitals = vitals._replace(wakes=waking(network, x, lengths, objective, make_optimizer, names))
        return Exam(vitals, case_of(experiment, trained=self.patient.run is not None))


def case_of(experiment: Experiment, *, trained: bool) -> Case:
    """Return the settings that a cure may change."""
    model = experiment.model
    neuron = None if trained else experiment.neuron
    return Case(model["layers"], neuron, model.get("init"), experiment.data, experiment.optimizer, trained)
