"""`snnlab doctor`: what one batch does in a network, what is wrong with it, and which setting cures it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from snnlab.commands.options import split_options

if TYPE_CHECKING:
    import torch

    from snnlab.config.schema import Experiment
    from snnlab.data.settings import DataSettings
    from snnlab.diagnosis.case import Case
    from snnlab.diagnosis.treat import Exam, Treatment
    from snnlab.events.frames import Batch
    from snnlab.nn import BuiltNetwork

USAGE = """usage: snnlab doctor [RUN] [--config-dir DIR] [OVERRIDES]

Send one batch of training recordings through a network, forward and backward, and say what each layer gets, does and
learns from. Where that will not train, the cause is named, and a setting proposed that was tried on the same batch:
the network was built again with it, and what was found was gone. The overrides are those of snnlab train. Nothing is
written. Exit status: 0 nothing was found, 1 something was, 2 there is a mistake in the configuration or the data.

  snnlab doctor
  snnlab doctor model=my_net data=dvsgesture neuron.tau_mem=5
  snnlab doctor outputs/NAME/TIME_SEED            the network of a run, with the chosen epoch's weights
"""


class Patient(NamedTuple):
    """Whose network is looked at: as `snnlab train` would begin with it, or a run's.

    Attributes:
        run: The run's folder, or None.
        overrides: What the user typed.
        config_dir: The user's folder, or None.
    """

    run: Path | None
    overrides: list[str]
    config_dir: str | None

    def experiment(self, more: Sequence[str]) -> tuple[Experiment, Path]:
        """Compose the experiment with further overrides; its neurons run by a backend that needs no compiling."""
        from snnlab.config.composing import compose_once
        from snnlab.config.of_run import compose_run

        overrides = merged(self.overrides, more)
        if self.run is None:
            experiment, folder = compose_once(overrides, self.config_dir)
        else:
            experiment, folder = compose_run(self.run, overrides, self.config_dir), self.run
        plain = {"backend": "eager", "fuse": False, "recompute": 0, "logger": None, "callbacks": None}
        return replace(experiment, **plain), folder


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    if "-h" in arguments or "--help" in arguments:
        print(USAGE, end="")
        return 0
    options, others = split_options("doctor", arguments, ("--config-dir",))
    run = Path(others[0]).expanduser() if others and "=" not in others[0] and not others[0].startswith("~") else None
    patient = Patient(run, others if run is None else others[1:], options.get("--config-dir"))

    from snnlab.console import console_logging, quiet_lightning, until_nobody_reads

    console_logging()
    with quiet_lightning():
        clinic = Clinic(patient)
        exam = clinic.exam()
        with until_nobody_reads():
            clinic.print_exam(exam)

        from snnlab.diagnosis.delay import delay_notes
        from snnlab.diagnosis.findings import findings
        from snnlab.diagnosis.treat import treat

        if not findings(exam.vitals):
            print(*delay_notes(exam.vitals), "Nothing is wrong with it.", sep="\n")
            return 0
        treatment = treat(exam, clinic.trial)
    with until_nobody_reads():
        print_treatment(treatment, patient)
    return 1


class Clinic:
    """Builds a patient's network under overrides and looks at it, always on the same batch where the data allow it."""

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        self.name = ""
        self._seen: tuple[object, DataSettings, Batch] | None = None

    def trial(self, more: Sequence[str]) -> Exam | None:
        """Return the exam under further overrides, or None where the configuration refuses them: no cure then."""
        from snnlab.errors import SnnlabError

        try:
            return self.exam(more)
        except SnnlabError:
            return None

    def exam(self, more: Sequence[str] = ()) -> Exam:
        """Return the exam under further overrides.

        Raises:
            SnnlabError: for a mistake in the configuration, the data or the run.
        """
        experiment, folder = self.patient.experiment(more)
        with experiment.located_errors():
            return self._exam(experiment, folder)

    def _exam(self, experiment: Experiment, folder: Path) -> Exam:
        import torch

        from snnlab.config import assemble
        from snnlab.config.goal import check_goal
        from snnlab.config.plugins import import_plugins
        from snnlab.diagnosis.findings import undecided
        from snnlab.diagnosis.measure import measure
        from snnlab.diagnosis.treat import Exam
        from snnlab.diagnosis.waking import waking
        from snnlab.nn.temporal import Counts
        from snnlab.seeds import Stream, derived_seed
        from snnlab.training.mixed import batch_loss

        import_plugins(experiment.plugins)
        assemble.set_threads(experiment.threads)
        settings, loss = assemble.data_settings(experiment), assemble.loss(experiment)
        built = self._network(experiment, settings)
        check_goal(experiment, settings, loss)
        make_optimizer, _ = assemble.optimizer(experiment, built)
        device = assemble.trainer(experiment, folder, []).strategy.root_device
        batch = self._batch(experiment, settings, device)
        network = built.network.to(device)

        def objective(y: torch.Tensor, counts: Counts) -> torch.Tensor:
            return batch_loss(loss, y, batch, counts)

        torch.manual_seed(derived_seed(experiment.seed, Stream.DROPOUT, 0, 0))
        x, lengths = batch.x, batch.lengths
        vitals = measure(network, x, lengths, objective, dt=settings.step_ms, make_optimizer=make_optimizer)
        if names := undecided(vitals):
            vitals = vitals._replace(wakes=waking(network, x, lengths, objective, make_optimizer, names))
        self.name = experiment.name
        return Exam(vitals, case_of(experiment, trained=self.patient.run is not None))

    def _network(self, experiment: Experiment, settings: DataSettings) -> BuiltNetwork:
        from snnlab.commands.loading import checkpoint_file, init_from, network_weights
        from snnlab.config import assemble
        from snnlab.errors import ConfigError

        built = assemble.network(experiment, settings)
        if self.patient.run is None:
            if experiment.init_from is not None:
                init_from(built.network, Path(experiment.init_from).expanduser())
            return built
        try:
            built.network.load_state_dict(network_weights(checkpoint_file(self.patient.run, "best")))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ConfigError(f"{self.patient.run}: its weights do not fit this network: {reason}") from error
        return built

    def _batch(self, experiment: Experiment, settings: DataSettings, device: torch.device) -> Batch:
        """Return the first training batch, made anew only where the data's settings have changed."""
        from snnlab.commands.shapes import first_batch
        from snnlab.config import assemble

        if self._seen is None or self._seen[0] != experiment.data:
            dataset = assemble.dataset(experiment)
            data = assemble.data_module(experiment, settings, assemble.store(dataset, settings), dataset)
            self._seen = (experiment.data, settings, first_batch(data, device))
        return self._seen[2]

    def print_exam(self, exam: Exam) -> None:
        """Print the table."""
        from snnlab.console import table_console
        from snnlab.diagnosis.table import legend, vitals_table

        vitals = exam.vitals
        dt = "" if vitals.dt is None else f" of {vitals.dt:g} ms"
        print(f"{self.name}: {vitals.samples} recordings, {vitals.steps} steps{dt}, loss {vitals.loss:.4g}")
        table_console().print(vitals_table(vitals))
        print(legend())


def case_of(experiment: Experiment, *, trained: bool) -> Case:
    """Return the settings that a cure may change."""
    from snnlab.diagnosis.case import Case

    model = experiment.model
    neuron = None if trained else experiment.neuron
    return Case(model["layers"], neuron, model.get("init"), experiment.data, experiment.optimizer, trained)


def print_treatment(treatment: Treatment, patient: Patient) -> None:
    """Print what was found, what cures each, and the command with all cures."""
    for finding, override in treatment.remedies:
        print(finding.text)
        print(f"  cured by {quoted(override)}" if override else "  none of the settings that were tried cures it")
    if not treatment.overrides:
        return
    loss = treatment.after.vitals.loss
    print(f"With {'these' if len(treatment.overrides) > 1 else 'this'} the network lives (loss {loss:.4g}):")
    if patient.run is not None:
        print(f"  snnlab doctor {patient.run} {' '.join(map(quoted, treatment.overrides))}")
        print("  and the same overrides behind the snnlab train of that run")
        return
    words = [*([f"--config-dir {patient.config_dir}"] if patient.config_dir else [])]
    words += map(quoted, merged(patient.overrides, treatment.overrides))
    print(f"  snnlab train {' '.join(words)}")


def merged(overrides: Sequence[str], more: Sequence[str]) -> list[str]:
    """Return overrides with further ones, which take the place of those of the same key."""
    keys = {_key(text) for text in more}
    return [*(text for text in overrides if _key(text) not in keys), *more]


def quoted(override: str) -> str:
    """Return an override as a shell takes it."""
    import shlex

    return shlex.quote(override)


def _key(text: str) -> str:
    return text.lstrip("+").partition("=")[0]
