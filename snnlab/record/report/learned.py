"""What a run's neurons have learned of time constants, thresholds and the like, out of its figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from snnlab.nn.neurons.learned import PREFIX

HEAD = ("layer", "quantity", "chosen epoch", "least to most")
_ENDS = ("_min", "_max")
_UNITS = ("ms", "steps")


def learned_lines(columns: Iterable[str]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield for each quantity what it is, with its unit, and its columns with the names of their layers.

    Args:
        columns: Those of `metrics.csv`.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for column in columns:
        quantity, layer = _parted(column)
        if quantity and not quantity.endswith(_ENDS):
            found.setdefault(_words(quantity), []).append((column, layer))
    yield from found.items()


def learned_rows(metrics: Mapping[str, float]) -> Iterator[tuple[str, str, str, str]]:
    """Yield a row for each quantity of each layer, see `HEAD`.

    Args:
        metrics: Those of a result.
    """
    for name, value in metrics.items():
        quantity, layer = _parted(name)
        if not quantity or quantity.endswith(_ENDS):
            continue
        ends = [metrics.get(f"{PREFIX}{quantity}{end}/{layer}") for end in _ENDS]
        spread = "" if None in ends else " to ".join(f"{end:.4g}" for end in ends)
        yield layer, _words(quantity), f"{value:.4g}", spread


def _parted(name: str) -> tuple[str, str]:
    """Return quantity and layer of `learned/tau_mem_ms/lif1`; empty of any other name."""
    quantity, _, layer = name.removeprefix(PREFIX).partition("/") if name.startswith(PREFIX) else ("", "", "")
    return quantity, layer


def _words(quantity: str) -> str:
    name, _, unit = quantity.rpartition("_")
    return f"{name} ({unit})" if unit in _UNITS else quantity
