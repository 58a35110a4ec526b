"""The experiment's settings with their types, and the line of a user's file that a mistake stands in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from snnlab.errors import ConfigError, SnnlabError
from snnlab.settings import NotNegative, at_least, between


@dataclass(frozen=True)
class Origin:
    """Where an experiment's settings come from.

    Attributes:
        files: The user's own files and the package of each, the last to win last; "" is the root.
        overridden: Keys that were set on the command line.
    """

    files: Sequence[tuple[Path, str]]
    overridden: Sequence[str]

    def located(self, error: SnnlabError) -> SnnlabError:
        """Return the error with the file and the line of its place, or of what holds that, where a file has it."""
        for place in (error.key, error.key.rpartition(".")[0]):
            if not place or any(_within(place, key) or _within(key, place) for key in self.overridden):
                return error
            for path, package in reversed(self.files):
                line = line_of(path, place, package)
                if line is not None:
                    return error.moved(origin=(path, line))
        return error


def line_of(path: Path, place: str, package: str) -> int | None:
    """Return the line, from 1, in which a file sets the key at `place`, or None."""
    if not _within(place, package) or place == package:
        return None
    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    line = None
    for key in place.removeprefix(package).strip(".").split("."):
        if not isinstance(node, yaml.MappingNode):
            return None
        found = {k.value: (k.start_mark.line + 1, value) for k, value in node.value}
        if key not in found:
            return None
        line, node = found[key]
    return line


def _within(place: str, package: str) -> bool:
    return not package or place == package or place.startswith(f"{package}.")


Node = Mapping[str, Any]
# Each of torch's threads takes some memory of its own.
MOST_THREADS = 1024
Mode = Literal["train", "overfit", "profile", "shapes"]
# Those of snnlab.kernels.function, which would bring torch with it.
Backend = Literal["auto", "reference", "numba", "triton"]
SparseInput = Literal["auto"] | bool
FitOn = Literal["train", "train_and_val"]
# That of snnlab.data.control, which would bring torch with it.
Control = Literal["shuffled_labels", "permuted_test_labels", "shuffled_time", "counts_only"]
OnTrainedBefore = Literal["fail", "record"]
Selection = Literal["lowest_val_loss", "best_val_accuracy", "last"]


@dataclass(frozen=True)
class Experiment:
    """One experiment, checked and resolved.

    Args:
        name: Folder under `output_dir` for its runs.
        seed: Drives initialisation, order, augmentation and dropout, each by a stream of its own; >= 0.
        tags: Words to find its runs by.
        model: `layers`, by name, in the order of computation; every `type` is a registered layer.
        data: `type` and the settings of a dataset.
        loss: `type` and the settings of a loss.
        optimizer: `_target_` and its arguments.
        neuron: The experiment's neuron, already put into the layers; null for none.
        scheduler: `_target_` and its arguments; null for none.
        trainer: Arguments of lightning's Trainer.
        callbacks: Further callbacks by name.
        logger: Loggers by name.
        plots: `recordings` and `every_epochs` of the plots in TensorBoard; null for none.
        monitors: `every_steps`, `recordings` and `every_epochs` of the looks at each layer; null for none.
        mode: What is done: `train`; `overfit` one batch; `profile`, train and say where the time goes; `shapes`, print
            what goes through the layers and train nothing.
        output_dir: Where runs go.
        plugins: Modules to import first: those that the user's own words name, see `snnlab.config.plugins`.
        threads: CPU threads of torch, of each process; null leaves its own choice, shared out among several processes.
        backend: What runs the neurons: `auto`, `reference`, `numba` or `triton`.
        fuse: Whether a neuron does the pooling behind it on the way, and a convolution sums few spikes one by one.
        checkpoint_segments: Number of segments of time of which the backward pass computes the states again; 0 keeps
            all of them.
        sparse_input: Whether a first convolution sums single events instead of dense frames; `auto` decides by the
            density of the frames.
        init_from: A run's folder, whose chosen epoch's weights the network begins with, where names and shapes are the
            same; null for none.
        on_trained_before: What is done where that run was trained on recordings that are for validation or test now:
            `fail`, or `record` it in `result.json`.
        freeze: Layers, or parameters by name, kind or pattern, that stay as they are.
        weight_averaging: `type` and settings of an average of the weights, which is validated and tested; null for
            none.
        tbptt_steps: Steps of a window that the gradient does not leave; null: it goes back to the beginning.
        surrogate_annealing: `start`, `end` and `epochs` of a factor of all surrogates' widths; null for none.
        fit_on: What is trained on: `train`, or `train_and_val`, for as many epochs as asked, nothing being chosen.
        control: What is made worthless to see what figures owe to it: `shuffled_labels`, `permuted_test_labels`,
            `shuffled_time` or `counts_only`; null for nothing.
        checkpoint_every_s: Seconds between checkpoints within an epoch; null: only at an epoch's end.
        selection: Which epoch is tested.
        test: Whether the chosen epoch is tested.
        record: This experiment as the run's `config.yaml` will hold it.
        origin: The files and overrides it was composed from.
        command: What was typed for it, word by word.
        of_run: The folder of the recorded run that it was read from, or None.
    """

    name: str
    seed: NotNegative
    model: Node
    data: Node
    loss: Node
    optimizer: Node
    trainer: Node
    tags: Sequence[str] = ()
    neuron: Node | None = None
    scheduler: Node | None = None
    callbacks: Node | None = None
    logger: Node | None = None
    plots: Node | None = None
    monitors: Node | None = None
    mode: Mode = "train"
    output_dir: str = "outputs"
    plugins: Sequence[str] = ()
    threads: Annotated[int | None, between(1, MOST_THREADS)] = None
    backend: Backend = "auto"
    fuse: bool = True
    sparse_input: SparseInput = "auto"
    checkpoint_segments: NotNegative = 0
    init_from: str | None = None
    on_trained_before: OnTrainedBefore = "fail"
    freeze: Sequence[str] = ()
    weight_averaging: Node | None = None
    tbptt_steps: Annotated[int | None, at_least(1)] = None
    surrogate_annealing: Node | None = None
    fit_on: FitOn = "train"
    control: Control | None = None
    checkpoint_every_s: Annotated[float | None, "s", at_least(0)] = 60.0
    selection: Selection = "lowest_val_loss"
    test: bool = True
    record: Node | None = None
    origin: Origin | None = None
    command: Sequence[str] = ()
    of_run: Path | None = None

    @contextmanager
    def located_errors(self) -> Iterator[None]:
        """Put file and line in front of the mistakes raised inside that stand in a file of the user's."""
        try:
            yield
        except ConfigError as error:
            located = self.origin.located(error) if self.origin else error
            if located is error:
                raise
            raise located from error
