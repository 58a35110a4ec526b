"""The columns of a table, in order, and how a figure is said in each."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from snnlab.record.suite.figures import PARTS
from snnlab.record.suite.spread import Spread

Text = Callable[[Spread], str]


class Column(NamedTuple):
    """A column of figures.

    Attributes:
        key: Its name in CSV and JSON.
        of: The figure that it shows, see `figures`.
        heading: What stands above it, with the unit.
        text: How a figure is said.
        about: accuracy, time, cost or operations: the table that it stands in.
    """

    key: str
    of: str
    heading: str
    text: Text
    about: str


def percent(value: Spread) -> str:
    """Return `92.3 ± 0.4`, in percent; the mean alone where there is one seed."""
    return f"{100 * value.mean:.1f}" + ("" if value.sd is None else f" ± {100 * value.sd:.1f}")


def interval(value: Spread) -> str:
    """Return the 95 % interval, in percent; none of one seed."""
    return "" if value.low is None or value.high is None else f"{100 * value.low:.1f} to {100 * value.high:.1f}"


def number(form: str) -> Text:
    """Return how a mean is said, such as `,.0f`, with its standard deviation where seeds differ."""

    def text(value: Spread) -> str:
        mean = format(value.mean, form)
        return mean + ("" if not value.sd else f" ± {format(value.sd, form)}")

    return text


def plain(form: str) -> Text:
    """Return how a mean alone is said."""
    return lambda value: format(value.mean, form)


def short(value: Spread) -> str:
    """Return a mean in thousands, millions or billions: `3.15 M`."""
    return short_number(value.mean)


def short_number(value: float) -> str:
    """Return a number with three digits, in thousands, millions or billions."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _sparsity(value: Spread) -> str:
    return f"{100 * value.mean:.1f}"


COLUMNS = (
    Column("test_accuracy", "test_accuracy", "test accuracy (%)", percent, "accuracy"),
    Column("test_interval", "test_accuracy", "95 % interval", interval, "accuracy"),
    Column("test_mae", "test_mae", "test mean error", number(".4g"), "accuracy"),
    Column("test_r2", "test_r2", "test R2", number(".3f"), "accuracy"),
    Column("last_test_accuracy", "last_test_accuracy", "last epoch, test (%)", percent, "accuracy"),
    Column("last_val_accuracy", "last_val_accuracy", "last epoch, validation (%)", percent, "accuracy"),
    Column("best_test_accuracy", "best_test_accuracy", "best on test (%), not comparable", percent, "accuracy"),
    Column("chosen_epoch", "chosen_epoch", "chosen epoch", plain(".0f"), "accuracy"),
    *(Column(f"accuracy_at_{p}", f"accuracy_at_{p}", f"after {p} % of the steps", percent, "time") for p in PARTS),
    Column("params", "params", "parameters", plain(",.0f"), "cost"),
    Column("footprint_bytes", "footprint_bytes", "footprint (bytes)", short, "cost"),
    Column("connection_sparsity", "connection_sparsity", "connection sparsity (%)", _sparsity, "cost"),
    Column("spikes_per_sample", "test_spikes_per_sample", "spikes / sample", short, "cost"),
    Column("activation_sparsity", "test_activation_sparsity", "activation sparsity (%)", _sparsity, "cost"),
    Column("samples_per_s", "samples_per_s", "training samples / s", plain(",.0f"), "cost"),
    Column("peak_mb", "peak_mb", "peak memory (MB)", plain(",.0f"), "cost"),
    Column("wall_s", "wall_s", "wall time (s)", plain(",.1f"), "cost"),
    Column("synops_dense", "test_synops_dense", "dense / sample", short, "operations"),
    Column("synops_macs", "test_synops_macs", "MACs / sample", short, "operations"),
    Column("synops_acs", "test_synops_acs", "ACs / sample", short, "operations"),
    Column("synops_dense_per_step", "test_synops_dense_per_step", "dense / step", short, "operations"),
    Column("synops_macs_per_step", "test_synops_macs_per_step", "MACs / step", short, "operations"),
    Column("synops_acs_per_step", "test_synops_acs_per_step", "ACs / step", short, "operations"),
    Column("membrane_updates", "test_membrane_updates", "membrane updates / sample", short, "operations"),
    Column("energy_nj", "energy_nj", "energy estimate (nJ / sample)", short, "operations"),
)
