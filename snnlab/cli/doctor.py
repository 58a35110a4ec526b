"""`snnlab doctor`: what one batch does in a network, what is wrong with it, and which setting cures it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from snnlab.cli.options import split_options, split_run

if TYPE_CHECKING:
    from snnlab.analysis.fixes import Exam, Treatment
    from snnlab.session.diagnosis import Patient
USAGE = """usage: snnlab doctor [RUN] [--config-dir DIR] [OVERRIDES]

Send one batch of training recordings through a network, forward and backward, and say what each layer gets, does and
learns from. Where that will not train, the cause is named, and a setting proposed that was tried on the same batch:
the network was built again with it, and what was found was gone. The overrides are those of snnlab train. Nothing is
written. Exit status: 0 nothing was found, 1 something was, 2 there is a mistake in the configuration or the data.

  snnlab doctor
  snnlab doctor model=my_net data=dvsgesture neuron.tau_mem=5
  snnlab doctor outputs/NAME/TIME_SEED            the network of a run, with the chosen epoch's weights
"""


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    options, others = split_options("doctor", arguments)
    run, overrides = split_run(others)

    from snnlab.console import console_logging, quiet_lightning, until_nobody_reads
    from snnlab.session.diagnosis import Patient

    console_logging()
    patient = Patient(run, overrides, options.get("--config-dir"))
    experiment, folder = patient.experiment(())

    # Behind the cheap checks, since they bring torch and Lightning.
    from snnlab.analysis.findings import delay_notes, findings
    from snnlab.analysis.fixes import treat
    from snnlab.session.diagnosis import Clinic

    clinic = Clinic(patient)
    with quiet_lightning():
        exam = clinic.exam(experiment, folder)
        with until_nobody_reads():
            print_exam(experiment.name, exam)
        if not findings(exam.vitals):
            print(*delay_notes(exam.vitals), "Nothing is wrong with it.", sep="\n")
            return 0
        treatment = treat(exam, clinic.trial)
    with until_nobody_reads():
        print_treatment(treatment, patient)
    return 1


def print_exam(name: str, exam: Exam) -> None:
    """Print the table."""
    from snnlab.analysis.findings import legend, vitals_table
    from snnlab.console import table_console

    vitals = exam.vitals
    dt = "" if vitals.dt is None else f" of {vitals.dt:g} ms"
    print(f"{name}: {vitals.samples} recordings, {vitals.steps} steps{dt}, loss {vitals.loss:.4g}")
    table_console().print(vitals_table(vitals))
    print(legend())


def print_treatment(treatment: Treatment, patient: Patient) -> None:
    """Print what was found, what cures each, and the command with all cures."""
    from snnlab.session.diagnosis import merged

    for finding, override in treatment.remedies:
        print(finding.text)
        print(f"  cured by {shlex.quote(override)}" if override else "  none of the settings that were tried cures it")
    if not treatment.overrides:
        return
    loss = treatment.after.vitals.loss
    print(f"With {'these' if len(treatment.overrides) > 1 else 'this'} the network lives (loss {loss:.4g}):")
    if patient.run is not None:
        words = map(shlex.quote, merged(patient.overrides, treatment.overrides))
        print(f"  snnlab doctor {patient.run} {' '.join(words)}")
        print("  and the same overrides behind the snnlab train of that run")
        return
    words = [*([f"--config-dir {patient.config_dir}"] if patient.config_dir else [])]
    words += map(shlex.quote, merged(patient.overrides, treatment.overrides))
    print(f"  snnlab train {' '.join(words)}")
