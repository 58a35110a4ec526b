"""What one pass over neurons does: the maximum of their currents, the bias, their step, the pooling of their spikes."""

from __future__ import annotations

from math import inf, prod
from typing import NamedTuple

from snnlab.kernels.quiet_neurons import Quiet, leaks_first, quiet_neurons
from snnlab.nn.network_form import Addition, Currents, NetworkForm, Neurons, Operation, Pooling, Value

# The currents of a window are read one by one in the text; larger windows are pooled before.
_MOST_IN_WINDOW = 16
Readers = dict[int, list[tuple[int | None, int]]]


class Pass(NamedTuple):
    """A pass over neurons.

    Attributes:
        source: The value that they read, an index of an operation or `INPUT`.
        before: The maximum pooling of that value; None: none.
        biased: The currents whose bias is added; None: none.
        after: The pooling of the spikes; None: none.
        gives: Index of the operation whose value is given.
        quiet: What the neurons do without input, where only those with input are updated; None: all are updated.
    """

    source: int
    before: Pooling | None
    biased: Currents | None
    after: Pooling | None
    gives: int
    quiet: Quiet | None


class Passes:
    """The passes over the neurons of a network, and what follows for the values.

    Args:
        form: The network's form.

    Attributes:
        of: The passes by the index of the neurons.
        poolings: Indices of the poolings that are a part of one.
        summed: Indices of the currents whose bias is added in one.
        unmarked: Values without bits, since all their numbers are read.
        taken: Values that are cleared as they are read.
        divisors: What the reader of a value divides it by.
    """

    def __init__(self, form: NetworkForm) -> None:
        self._operations, self._readers = form.operations, readers(form)
        self.of: dict[int, Pass] = {}
        for number, one in enumerate(form.operations):
            if isinstance(one, Neurons):
                self.of[number] = self._pass(number, one)
        passes = self.of.values()
        parts = [part for one in passes for part in (one.before, one.after)]
        self.poolings = {n for n, one in enumerate(form.operations) if any(one is part for part in parts)}
        self.summed = {one.source for one in passes if one.biased is not None}
        only_read = {value for value in self._readers if self._reader(value) is not None}
        read = {one.source for one in passes} & only_read
        dense = {one.source for one in passes if one.quiet is None} & only_read
        self.unmarked = {value for value in dense if self._currents(value) is not None}
        self.taken = read | {value for value in only_read if self._is_mapped(value)}
        means = [one for one in passes if one.after is not None and one.after.kind == "avg"]
        self.divisors = {one.gives: one.after.window[0] * one.after.window[1] for one in means if one.after is not None}

    def _pass(self, number: int, one: Neurons) -> Pass:
        source, before, after, gives = one.source.of, None, None, number
        pooled = self._operations[source] if source >= 0 else None
        if isinstance(pooled, Pooling) and pooled.kind == "max" and _is_tiled(pooled, _MOST_IN_WINDOW):
            inner = pooled.source.of
            if self._reader(source) is one and self._reader(inner) is pooled and self._currents(inner) is not None:
                before, source = pooled, inner
        currents = self._currents(source)
        is_biased = currents is not None and currents.bias is not None
        quiet = None if is_biased or before is not None else quiet_neurons(one.form)
        if quiet is not None and not leaks_first(one.form, quiet):
            quiet = None
        following = self._reader(number)
        if one.form.spiking and isinstance(following, Pooling) and _is_tiled(following):
            place = next(reader for reader, _ in self._readers[number] if reader is not None)
            # A maximum begins with 0, and only maps divide.
            if {"max": not one.form.is_graded, "avg": self._is_mapped(place), "sum": True}[following.kind]:
                after, gives = following, place
        biased = currents if is_biased and self._reader(source) is not None else None
        return Pass(source, before, biased, after, gives, quiet)

    def _reader(self, value: int) -> Operation | None:
        """Return the operation that reads a value in the same step, if nothing else reads it."""
        found = self._readers.get(value, [])
        if len(found) != 1 or found[0][0] is None or found[0][1] != 0:
            return None
        return self._operations[found[0][0]]

    def _currents(self, value: int) -> Currents | None:
        one = self._operations[value] if value >= 0 else None
        return one if isinstance(one, Currents) else None

    def _is_mapped(self, value: int) -> bool:
        """Return whether a map is the only reader of a value."""
        return isinstance(self._reader(value), Currents)


def readers(form: NetworkForm) -> Readers:
    """Return what reads each value: the index of an operation, or None for the output, and the delay."""
    found: Readers = {form.output.of: [(None, form.output.delay)]}
    for number, one in enumerate(form.operations):
        for source in _sources(one):
            found.setdefault(source.of, []).append((number, source.delay))
    return found


def _sources(one: Operation) -> list[Value]:
    if isinstance(one, Currents):
        return [part.source for part in one.maps]
    return [*one.sources] if isinstance(one, Addition) else [one.source]


def _is_tiled(one: Pooling, most: float = inf) -> bool:
    """Return whether windows are side by side, and have at most so many numbers."""
    return one.stride == one.window and one.padding == (0, 0) and prod(one.window) <= most
