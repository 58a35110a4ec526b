"""How `snnlab doctor` looks at a network: built under overrides, with one batch of its data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from snnlab.commands.loading import checkpoint_file, init_from
from snnlab.commands.patient import Patient
from snnlab.commands.shapes import first_batch
from snnlab.config import assemble
from snnlab.config.goal import check_goal
from snnlab.config.plugins import import_plugins
from snnlab.config.schema import Experiment
from snnlab.data.module import EventDataModule
from snnlab.data.settings import DataSettings
from snnlab.diagnosis.case import Case
from snnlab.diagnosis.findings import undecided
from snnlab.diagnosis.measure import measure
from snnlab.diagnosis.treat import Exam
from snnlab.diagnosis.waking import waking
from snnlab.errors import ConfigError, SnnlabError
from snnlab.events.frames import Batch
from snnlab.nn import BuiltNetwork
from snnlab.nn.temporal import Counts
from snnlab.seeds import Stream, derived_seed
from snnlab.training.checkpoints import network_weights
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
        import_plugins(experiment)
        assemble.set_threads(experiment.threads)
        settings, loss = assemble.data_settings(experiment), assemble.loss(experiment)
        built = self._network(experiment, settings)
        check_goal(experiment, settings, loss, built)
        make_optimizer, _ = assemble.optimizer(experiment, built)
        device = assemble.trainer(experiment, folder, []).strategy.root_device
        data, batch = self._first_batch(experiment, settings, device)
        assemble.count_classes(loss, data)
        network, loss = built.network.to(device), loss.to(device)

        def objective(y: torch.Tensor, counts: Counts) -> torch.Tensor:
            return batch_loss(loss, y, batch, counts)[0]

        torch.manual_seed(derived_seed(experiment.seed, Stream.DROPOUT, 0, 0))
        x, lengths = batch.x, batch.lengths
        vitals = measure(network, x, lengths, objective, dt=settings.step_ms, make_optimizer=make_optimizer)
        if names := undecided(vitals):
            vitals = vitals._replace(wakes=waking(network, x, lengths, objective, make_optimizer, names))
        return Exam(vitals, case_of(experiment, trained=self.patient.run is not None))

    def _network(self, experiment: Experiment, settings: DataSettings) -> BuiltNetwork:
        built = assemble.network(experiment, settings)
        if self.patient.run is None:
            if experiment.init_from is not None:
                init_from(built.network, Path(experiment.init_from).expanduser())
            return built
        try:
            built.network.load_state_dict(network_weights(checkpoint_file(self.patient.run, "best")))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ConfigError(self.patient.run, f"its weights do not fit this network: {reason}") from error
        return built

    def _first_batch(
        self, experiment: Experiment, settings: DataSettings, device: torch.device
    ) -> tuple[EventDataModule, Batch]:
        """Return the data and their first training batch, made anew only where the data's settings have changed."""
        if self._seen is None or self._seen[0] != experiment.data:
            dataset = assemble.dataset(experiment)
            data = assemble.data_module(experiment, settings, assemble.store(dataset, settings), dataset)
            self._seen = (experiment.data, data, first_batch(data, device))
        return self._seen[1:]


def case_of(experiment: Experiment, *, trained: bool) -> Case:
    """Return the settings that a cure may change."""
    model = experiment.model
    neuron = None if trained else experiment.neuron
    return Case(model["layers"], neuron, model.get("init"), experiment.data, experiment.optimizer, trained)
