"""The work of `snnlab doctor`: measures a network on one batch, and tries settings that may fix it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from snnlab.analysis.findings import (
    delay_notes,
    findings,
    legend,
    silent_layers_to_test,
    statistics_table,
    steps_until_spiking,
)
from snnlab.analysis.fixes import ExperimentSettings, Fixes, MeasuredNetwork, find_fixes
from snnlab.analysis.layer_statistics import measure
from snnlab.config.schema import Experiment
from snnlab.console import table_console
from snnlab.data.data_module import EventDataModule
from snnlab.data.events.frames import Batch
from snnlab.data.inspection import window_warnings
from snnlab.errors import SnnlabError
from snnlab.nn.layer import Counts
from snnlab.seeds import Stream, derived_seed
from snnlab.session import Session
from snnlab.training.task import batch_loss


class Diagnosis:
    """Builds a network with overrides and measures it, on the same batch while the data settings stay the same.

    Args:
        compose: Composes the experiment with further overrides, and the folder of its run.
        run: The run whose network is measured; None: the network with its initial weights.
    """

    def __init__(self, compose: Callable[[Sequence[str]], tuple[Experiment, Path]], run: Path | None) -> None:
        self.compose, self.run = compose, run
        self._cached_data: tuple[object, EventDataModule, Batch] | None = None

    def try_overrides(self, more: Sequence[str]) -> MeasuredNetwork | None:
        """Measure the network with further overrides; None if the configuration refuses them, so they fix nothing."""
        try:
            return self.measured(*self.compose(more))
        except SnnlabError:
            return None

    def measured(self, experiment: Experiment, folder: Path) -> MeasuredNetwork:
        """Measure the network of an experiment."""
        # The reference backend needs no compilation.
        plain = {"backend": "reference", "fuse": False, "checkpoint_segments": 0, "logger": None, "callbacks": None}
        return self._measure(replace(experiment, **plain), folder)

    def fixes(self, measured: MeasuredNetwork) -> Fixes | None:
        """Return the problems of the network and their fixes; print a line and return None if there are none."""
        if findings(measured.statistics):
            return find_fixes(measured, self.try_overrides)
        verdict = "Nothing is wrong with the network." if self.data_problems else "Nothing is wrong with it."
        print(*delay_notes(measured.statistics), verdict, sep="\n")
        return None

    @property
    def data_problems(self) -> list[str]:
        """Problems of the recordings that were measured last: a window that has hardly any event, or not most."""
        if self._cached_data is None:
            return []
        return window_warnings(self._cached_data[1].store, self._cached_data[1].settings)

    def _measure(self, experiment: Experiment, folder: Path) -> MeasuredNetwork:
        same = self._cached_data is not None and self._cached_data[0] == experiment.data
        session = Session(
            experiment, folder, run=self.run, data=self._cached_data[1] if same and self._cached_data else None
        )
        session.use_threads()
        session.build("network", "loss")
        settings, (make_optimizer, _), device = session.settings, session.optimization, session.processes.device
        network, loss = session.network.to(device), session.loss_with_class_counts.to(device)
        if not same or self._cached_data is None:
            self._cached_data = experiment.data, session.data, session.data.first_batch(device)
        batch = self._cached_data[2]

        def objective(y: torch.Tensor, counts: Counts) -> torch.Tensor:
            return batch_loss(loss, y, batch, counts)[0]

        torch.manual_seed(derived_seed(experiment.seed, Stream.DROPOUT, 0, 0))
        x, lengths = batch.x, batch.lengths
        statistics = measure(network, x, lengths, objective, dt=settings.step_ms, make_optimizer=make_optimizer)
        if names := silent_layers_to_test(statistics):
            statistics = statistics._replace(
                spikes_after=steps_until_spiking(network, x, lengths, objective, make_optimizer, names)
            )
        return MeasuredNetwork(statistics, fixable_settings(experiment, trained=self.run is not None))


def fixable_settings(experiment: Experiment, *, trained: bool) -> ExperimentSettings:
    """Return the settings that a fix may change."""
    model = experiment.model
    neuron = None if trained else experiment.neuron
    return ExperimentSettings(
        model["layers"], neuron, model.get("init"), experiment.data, experiment.optimizer, trained
    )


def print_statistics(name: str, measured: MeasuredNetwork) -> None:
    """Print the table of layer statistics."""
    statistics = measured.statistics
    dt = "" if statistics.dt is None else f" of {statistics.dt:g} ms"
    print(f"{name}: {statistics.samples} recordings, {statistics.steps} steps{dt}, loss {statistics.loss:.4g}")
    table_console().print(statistics_table(statistics))
    print(legend())


def print_findings(result: Fixes) -> None:
    """Print each problem and its fix."""
    for finding, override in result.tried_fixes:
        print(finding.text)
        print(f"  fixed by {shlex.quote(override)}" if override else "  none of the tried settings fixes it")
    if result.overrides:
        these, loss = "these" if len(result.overrides) > 1 else "this", result.after.statistics.loss
        print(f"With {these} the network works (loss {loss:.4g}):")
