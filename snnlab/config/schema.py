"""The experiment's settings with their types, and where they were set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from snnlab.errors import SnnlabError, UnknownSettingError
from snnlab.experiment_fields import AnnealingSettings, MonitorSettings, PlotSettings
from snnlab.spec.interval import NonNegative, at_least, between

if TYPE_CHECKING:
    from snnlab.config.hydra_source import ConfigFiles


@dataclass(frozen=True)
class Origin:
    """The sources of an experiment's settings.

    Attributes:
        files: The files that it is composed from.
        overridden: Keys that are set on the command line.
    """

    files: ConfigFiles
    overridden: Sequence[str]

    def locate(self, error: SnnlabError) -> SnnlabError:
        """Return the error with the file and line of its place, or of its parent key, if a user's file sets it."""
        removal = f"a packaged file sets it, ~{error.key} removes it"
        if error.origin is not None or error.hint.startswith(removal):
            return error
        if isinstance(error, UnknownSettingError) and f"{error.place}.type" in self.overridden:
            # The settings of the file stay, which are those of another type.
            choice = f"choose {error.place}=NAME, by a file {error.place}/NAME.yaml, in place of its type alone"
            return error.with_fields(hint=f"{choice}; {error.hint}")
        key = re.sub(r"\[(\d+)\]", r".\1", error.key)
        for place in (key, key.rpartition(".")[0]):
            if not place or any(_is_within(place, key) or _is_within(key, place) for key in self.overridden):
                return error
            for file in reversed(self.files.own):
                if (line := file.line_of(place)) is not None:
                    return error.with_fields(origin=(file.path, line))
        if isinstance(error, UnknownSettingError):
            # Such as neuron.q of a packaged experiment, with another neuron.
            return error.with_fields(hint=f"{removal}; {error.hint}")
        return error


def _is_within(place: str, above: str) -> bool:
    return place == above or place.startswith(f"{above}.")


Node = Mapping[str, Any]
# Each thread of torch takes memory.
MOST_THREADS = 1024
Mode = Literal["train", "overfit", "profile"]
# The same as in snnlab.kernels.function, whose import would bring torch.
Backend = Literal["auto", "reference", "numba", "triton"]
SparseInput = Literal["auto"] | bool
FitOn = Literal["train", "train_and_val"]
# The same as in snnlab.data.ablation, whose import would bring torch.
Control = Literal["shuffled_labels", "permuted_test_labels", "shuffled_time", "counts_only"]
Selection = Literal["lowest_val_loss", "best_val_accuracy", "last"]


# Attributes of an experiment that no YAML has.
NO_SETTINGS = ("record", "origin", "command", "of_run")


@dataclass(frozen=True)
class ForeignWeights:
    """The weights of another project's file, for a network of the same layers.

    Args:
        file: A file of `torch.save` with a state dict; null: random weights.
        rename: Names in the file, or their first parts, to names of the network; to numbers that they must be equal
            to; or to null for those that are not used. Or `spikingjelly` or `snntorch`: the n-th layer of each type in
            the file is the n-th here.
    """

    file: str | None = None
    rename: Node | Literal["spikingjelly", "snntorch"] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """One experiment, checked and resolved.

    Args:
        name: Folder under `output_dir` for its runs.
        seed: Seeds separate random streams of initialization, order, augmentation and dropout; >= 0.
        tags: Words by which its runs are found.
        model: `layers`, by name, in the order of computation; every `type` is a registered layer. `init`, an
            initialization. `weights`, the `file` of another project and `rename`, a table of its names. `noise`, the
            standard deviation of the noise on weights in training, as a part of the weight.
        data: `type` and the settings of a dataset.
        loss: `type` and the settings of a loss.
        learning: `type` and the settings of a learning rule.
        optimizer: `_target_` and its arguments.
        quantize: `type` and settings of a target of whole numbers, in which the network runs; null: real numbers.
        neuron: The experiment's neuron, already merged into the layers; null for none.
        scheduler: `_target_` and its arguments; null for none.
        trainer: Arguments of lightning's Trainer.
        callbacks: Further callbacks by name.
        logger: Loggers by name.
        plots: `recordings` and `every_epochs` of the plots in TensorBoard; null for none.
        monitors: `every_steps`, `recordings` and `every_epochs` of the layer statistics; null for none.
        mode: `train`; `overfit` one batch; `profile`: train and report the time of each part.
        output_dir: Folder of the runs.
        plugins: Modules to import first; the user names them on the command line, not in a file.
        threads: CPU threads of torch, of each process; null: torch's default, divided among several processes.
        backend: Backend of the neurons: `auto`, `reference`, `numba` or `triton`.
        fuse: Whether a neuron computes the pooling after it, and a convolution of few spikes sums them one by one.
        checkpoint_segments: Number of segments over time that the backward pass recomputes; 0: it keeps all.
        sparse_input: Whether a first convolution sums single events instead of dense frames; `auto` decides by the
            density of the frames.
        init_from: A run's folder; the network starts with the weights of its chosen epoch, where names and shapes are
            the same; null for none.
        freeze: Layers, or parameters by name, kind or pattern, that are not trained.
        weight_averaging: `type` and settings of weight averaging; the averaged weights are validated and tested; null
            for none.
        tbptt_steps: Length in steps of truncated backpropagation through time; null: not truncated.
        surrogate_annealing: `start`, `end` and `epochs` of a factor of all surrogates' widths; null for none.
        fit_on: The recordings to train on: `train`, or `train_and_val`, for all epochs, without a choice of an epoch.
        control: The information that is destroyed to measure how much results depend on it: `shuffled_labels`,
            `permuted_test_labels`, `shuffled_time` or `counts_only`; null for none.
        checkpoint_every_s: Seconds between checkpoints within an epoch; null: only at an epoch's end.
        selection: The epoch that is tested.
        test: Whether the chosen epoch is tested.
        record: This experiment as it is written to the run's `config.yaml`.
        origin: The files and overrides it was composed from.
        command: The typed command line, as a list of words.
        of_run: The folder of the recorded run that it was read from, or None.
    """

    name: str
    seed: NonNegative
    model: Node
    data: Node
    loss: Node
    optimizer: Node
    trainer: Node
    tags: Sequence[str] = ()
    learning: Node = field(default_factory=lambda: {"type": "bptt"})
    quantize: Node | None = None
    neuron: Node | None = None
    scheduler: Node | None = None
    callbacks: Node | None = None
    logger: Node | None = None
    plots: PlotSettings | None = None
    monitors: MonitorSettings | None = None
    mode: Mode = "train"
    output_dir: str = "outputs"
    plugins: Sequence[str] = ()
    threads: Annotated[int | None, between(1, MOST_THREADS)] = None
    backend: Backend = "auto"
    fuse: bool = True
    sparse_input: SparseInput = "auto"
    checkpoint_segments: NonNegative = 0
    init_from: str | None = None
    freeze: Sequence[str] = ()
    weight_averaging: Node | None = None
    tbptt_steps: Annotated[int | None, at_least(1)] = None
    surrogate_annealing: AnnealingSettings | None = None
    fit_on: FitOn = "train"
    control: Control | None = None
    checkpoint_every_s: Annotated[float | None, "s", at_least(0)] = 60.0
    selection: Selection = "lowest_val_loss"
    test: bool = True
    record: Node | None = None
    origin: Origin | None = None
    command: Sequence[str] = ()
    of_run: Path | None = None

    @property
    def foreign_weights(self) -> ForeignWeights | None:
        """The weights of another project's file that the network starts with, or None."""
        found = ForeignWeights(**(self.model.get("weights") or {}))
        return None if found.file is None else found

    @property
    def has_given_weights(self) -> bool:
        """Whether a run or a file gives the initial weights."""
        return self.init_from is not None or self.foreign_weights is not None

    def without_initial_weights(self) -> Experiment:
        """Return the experiment without `init_from` and `model.weights`, for a network that gets other weights."""
        model = {key: value for key, value in self.model.items() if key != "weights"}
        return replace(self, init_from=None, model=model)

    def locate(self, error: SnnlabError) -> SnnlabError:
        """Return the error with the file and line of its place, if a user's file sets it."""
        return error if self.origin is None else self.origin.locate(error)
