"""How `snnlab doctor` looks at a network: built under overrides, with one batch of its data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from snnlab.commands.patient import Patient
from snnlab.config.schema import Experiment
from snnlab.data.module import EventDataModule
from snnlab.diagnosis.case import Case
from snnlab.diagnosis.findings import undecided
from snnlab.diagnosis.measure import measure
from snnlab.diagnosis.treat import Exam
from snnlab.diagnosis.waking import waking
from snnlab.errors import SnnlabError
from snnlab.events.frames import Batch
from snnlab.nn.temporal import Counts
from snnlab.seeds import Stream, derived_seed
from snnlab.session import Session
from snnlab.training.mixed import batch_loss


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
