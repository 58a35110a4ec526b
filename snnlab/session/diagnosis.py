"""What `snnlab doctor` does: builds a network, looks at one batch in it, and tries settings that may cure it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from snnlab.analysis.findings import delay_notes, findings, legend, undecided, vitals_table, waking
from snnlab.analysis.fixes import Case, Exam, Treatment, treat
from snnlab.analysis.layer_statistics import measure
from snnlab.config.schema import Experiment
from snnlab.console import table_console
from snnlab.data.data_module import EventDataModule
from snnlab.data.events.frames import Batch
from snnlab.errors import SnnlabError
from snnlab.nn.layer import Counts
from snnlab.seeds import Stream, derived_seed
from snnlab.session import Session
from snnlab.training.module import batch_loss


class Diagnosis:
    """Builds a network under overrides and looks at it, always on the same batch where the data allow it.

    Args:
        compose: Makes the experiment, with further overrides, and its run's folder.
        run: The run whose network it is; None: it is as `snnlab train` would begin with it.
    """

    def __init__(self, compose: Callable[[Sequence[str]], tuple[Experiment, Path]], run: Path | None) -> None:
        self.compose, self.run = compose, run
        self._seen: tuple[object, EventDataModule, Batch] | None = None

    def trial(self, more: Sequence[str]) -> Exam | None:
        """Return the exam under further overrides, or None where the configuration refuses them: no cure then."""
        try:
            return self.exam(*self.compose(more))
        except SnnlabError:
            return None

    def exam(self, experiment: Experiment, folder: Path) -> Exam:
        """Return the exam of an experiment.

        Raises:
            SnnlabError: for a mistake in the configuration, the data or the run.
        """
        # By a backend that needs no compiling.
        plain = {"backend": "reference", "fuse": False, "checkpoint_segments": 0, "logger": None, "callbacks": None}
        with experiment.located_errors():
            return self._exam(replace(experiment, **plain), folder)

    def treatment(self, exam: Exam) -> Treatment | None:
        """Return what is wrong and what cures it; None, with a word, where nothing is."""
        if findings(exam.vitals):
            return treat(exam, self.trial)
        print(*delay_notes(exam.vitals), "Nothing is wrong with it.", sep="\n")
        return None

    def _exam(self, experiment: Experiment, folder: Path) -> Exam:
        same = self._seen is not None and self._seen[0] == experiment.data
        session = Session(experiment, folder, run=self.run, data=self._seen[1] if same and self._seen else None)
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
        return Exam(vitals, case_of(experiment, trained=self.run is not None))


def case_of(experiment: Experiment, *, trained: bool) -> Case:
    """Return the settings that a cure may change."""
    model = experiment.model
    neuron = None if trained else experiment.neuron
    return Case(model["layers"], neuron, model.get("init"), experiment.data, experiment.optimizer, trained)


def print_exam(name: str, exam: Exam) -> None:
    """Print the table."""
    vitals = exam.vitals
    dt = "" if vitals.dt is None else f" of {vitals.dt:g} ms"
    print(f"{name}: {vitals.samples} recordings, {vitals.steps} steps{dt}, loss {vitals.loss:.4g}")
    table_console().print(vitals_table(vitals))
    print(legend())


def print_findings(treatment: Treatment) -> None:
    """Print what was found, and what cures each."""
    for finding, override in treatment.remedies:
        print(finding.text)
        print(f"  cured by {shlex.quote(override)}" if override else "  none of the settings that were tried cures it")
    if treatment.overrides:
        these, loss = "these" if len(treatment.overrides) > 1 else "this", treatment.after.vitals.loss
        print(f"With {these} the network lives (loss {loss:.4g}):")
