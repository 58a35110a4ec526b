"""Measures the false positive rate and the power of the verdicts of `snnlab bench`, by simulation.

    python scripts/calibrate_verdicts.py                        # all scenarios, 20,000 draws each, two seeds: an hour
    python scripts/calibrate_verdicts.py --draws 2000 --cells persons

A draw is two equally good methods, several networks of each, and their answers to the same test recordings; a verdict
that one is better is wrong. The logit of a correct answer is

    mean + network + recording (+ person) (+ method by recording) (+ method by person)

each normal and drawn anew, so that recordings are easy or hard, and networks and methods differ in which recordings
they answer correctly. The mean is such that the accuracy is that of the scenario. The verdicts are computed by
`snnlab.experiments.verdicts`. Some networks may fail: they guess one of ten classes. The group `seeds` counts how often
the numbers of a row, as a table prints them, contain what they are read as.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numba
import numpy as np
from scipy.special import ndtri

from snnlab.experiments.verdicts import MethodResults, verdicts
from snnlab.runs.statistics import accuracy_interval, uneven

# The largest accepted rate of false verdicts, whose nominal level is 5 %.
BOUND = 0.06
# Numbers of seeds at which a suite is evaluated repeatedly.
LOOKS = (4, 5, 10)
METHODS = 6
CHANCE = 0.1


@dataclass(frozen=True)
class Scenario:
    """A scenario in which methods are compared.

    Attributes:
        recordings: Test recordings.
        seeds: Networks of each method.
        accuracy: Mean accuracy of all networks.
        by_recording: Standard deviation (logits) of the interaction of method and recording.
        windows: Windows of each recording, which are classified separately.
        persons: Number of persons, the last with three times as many recordings as the first; 0: one per recording.
        of_networks: Standard deviation (logits) between networks.
        paired: Whether networks of the same seed have the same training recordings.
        better: Percentage points by which the first method is better, for power.
        failing: Probability that a network guesses, with an accuracy of `CHANCE`.
    """

    recordings: int
    seeds: int
    accuracy: float
    by_recording: float = 0.0
    windows: int = 1
    persons: int = 0
    of_networks: float = 0.2
    paired: bool = False
    better: float = 0.0
    failing: float = 0.0

    @property
    def name(self) -> str:
        """The scenario as text."""
        rows = f"{self.recordings:,} recordings"
        rows += f" of {self.persons} persons" if self.persons else ""
        rows += f", {self.windows} windows each" if self.windows > 1 else ""
        seeds = "1 network each" if self.seeds == 1 else f"{self.seeds} seeds{', split by seed' * self.paired}"
        effect = ", network by recording" if self.by_recording else ""
        fail = f", {self.failing:.0%} of them at chance" if self.failing else ""
        return f"{rows}; accuracy {self.accuracy:g}; {seeds}{fail}{effect}"

    @property
    def clusters(self) -> np.ndarray:
        """Number of the recording or person of each row."""
        if self.persons:
            shares = np.geomspace(1, 3, self.persons)
            sizes = np.maximum(np.floor(shares / shares.sum() * self.recordings).astype(int), 1)
            sizes[-1] += self.recordings - sizes.sum()
            return np.repeat(np.arange(self.persons), sizes * self.windows)
        return np.repeat(np.arange(self.recordings), self.windows)


def scenarios() -> Iterator[Scenario]:
    """Yield the 60 scenarios."""
    seeds, spreads = (4, 5, 10), (0.1, 0.2, 0.4)
    number = 0
    for recordings in (10_000, 2_264, 264, 100):
        for accuracy in (0.5, 0.9, 0.98, 0.995):
            for effect in (0.0, 1.0):
                yield Scenario(
                    recordings,
                    seeds[number % 3],
                    accuracy,
                    effect,
                    of_networks=spreads[(number // 3) % 3],
                    paired=number % 4 == 3,
                )
                number += 1
    for recordings in (10_000, 264, 100):
        yield Scenario(recordings, 1, 0.9, 1.0, of_networks=0.0)
    for persons in (6, 12, 29):
        for n in (1, 4, 5, 10):
            yield Scenario(264, n, 0.9, 1.0, persons=persons, of_networks=0.0 if n == 1 else 0.2)
        yield Scenario(264, 10, 0.5, 1.0, persons=persons)
        yield Scenario(264, 5, 0.5, 0.0, persons=persons)
    for windows in (8, 30):
        for n, effect in ((1, 1.0), (4, 0.0), (5, 1.0)):
            yield Scenario(264, n, 0.9, effect, windows=windows, of_networks=0.0 if n == 1 else 0.2)
    yield Scenario(100, 5, 0.9, 1.0, windows=8, persons=12)


@numba.njit(cache=True)
def draw(rng, mean, of_recordings, by_recording, of_networks, of_splits, clusters, of_clusters, right):  # type: ignore[no-untyped-def]
    """Fill `right`, `[M, S, N]`, with the correct answers of S networks of each of M methods to N rows.

    Args:
        rng: Random generator.
        mean: Means of the logits, `[M]`.
        of_recordings: Standard deviation of the rows of a cluster.
        by_recording: Standard deviation of the methods on a row, and on a cluster.
        of_networks: Standard deviation of the networks of a method.
        of_splits: Standard deviation of the term that networks of the same seed share.
        clusters: Cluster of each row, `[N]`.
        of_clusters: Standard deviation of clusters; 0 where a row is one.
        right: Output array.
    """
    ways, seeds, rows = right.shape
    networks = of_networks * rng.standard_normal((ways, seeds)) + of_splits * rng.standard_normal(seeds)
    count = clusters[-1] + 1 if of_clusters else 0
    shared = of_clusters * rng.standard_normal(count)
    own = by_recording * rng.standard_normal((ways, count))
    for row in range(rows):
        base = of_recordings * rng.standard_normal()
        if of_clusters:
            base += shared[clusters[row]]
        for way in range(ways):
            logit = mean[way] + base
            if by_recording:
                logit += by_recording * rng.standard_normal()
            if of_clusters:
                logit += own[way, clusters[row]]
            for seed in range(seeds):
                right[way, seed, row] = rng.random() * (1 + math.exp(-logit - networks[way, seed])) < 1


def simulate(scenario: Scenario, ways: int, rng: np.random.Generator) -> Iterator[list[MethodResults]]:
    """Yield equally good methods; with `scenario.better` the first is better."""
    clusters, clustered = scenario.clusters, bool(scenario.persons) or scenario.windows > 1
    rows, of_clusters = len(clusters), 1.0 if clustered else 0.0
    # Windows of one recording differ little, recordings of one person more.
    of_recordings = 0.3 if scenario.windows > 1 else 1.5
    of_splits = 0.3 * scenario.paired
    parts = (
        of_recordings,
        of_clusters,
        scenario.by_recording,
        scenario.by_recording * clustered,
        scenario.of_networks,
        of_splits,
    )
    deviation = math.sqrt(sum(part**2 for part in parts))
    means = np.array([_mean(scenario.accuracy + scenario.better / 100 * (way == 0), deviation) for way in range(ways)])
    recordings = np.stack([np.arange(rows), np.zeros(rows, int)], 1)
    splits = [str(seed * scenario.paired) for seed in range(scenario.seeds)]
    right = np.zeros((ways, scenario.seeds, rows), bool)
    while True:
        draw(
            rng,
            means,
            of_recordings,
            scenario.by_recording,
            scenario.of_networks,
            of_splits,
            clusters,
            of_clusters,
            right,
        )
        for way, seed in np.argwhere(rng.random((ways, scenario.seeds)) < scenario.failing) if scenario.failing else ():
            right[way, seed] = rng.random(rows) < CHANCE
        yield [
            MethodResults(str(way), list(range(scenario.seeds)), right[way], recordings, "", clusters, splits)
            for way in range(ways)
        ]


def false_verdicts(scenario: Scenario, draws: int, seed: int) -> float:
    """Return the rate of significant verdicts between two methods: false ones, or with `scenario.better` the power."""
    samples = simulate(scenario, 2, np.random.default_rng(seed))
    return sum(verdicts(next(samples))[0].significant for _ in range(draws)) / draws


def false_tables(scenario: Scenario, draws: int, seed: int) -> float:
    """Return the rate of tables of several methods with any false verdict; the first method may be better."""
    samples, wrong = simulate(scenario, METHODS, np.random.default_rng(seed)), 0
    for _ in range(draws):
        wrong += any(
            each.significant and not (scenario.better and each.one.name == "0" and each.difference.effect > 0)
            for each in verdicts(next(samples))
        )
    return wrong / draws


def false_looks(scenario: Scenario, draws: int, seed: int) -> float:
    """Return the rate of false verdicts at any of several looks at an increasing number of seeds."""
    samples, wrong = simulate(scenario, 2, np.random.default_rng(seed)), 0
    for _ in range(draws):
        methods = next(samples)
        for look, seeds in enumerate(LOOKS, 1):
            now = [
                method._replace(seeds=method.seeds[:seeds], right=method.right[:seeds], splits=method.splits[:seeds])
                for method in methods
            ]
            if verdicts(now, looks=lambda one, other, look=look: look)[0].significant:
                wrong += 1
                break
    return wrong / draws


def power_at_smallest(scenario: Scenario, draws: int, seed: int) -> float:
    """Return the power for the smallest detectable difference that a "cannot tell" verdict reports on average."""
    samples = simulate(scenario, 2, np.random.default_rng(seed))
    smallest_detectable = float(
        np.mean([verdicts(next(samples))[0].difference.smallest_detectable() for _ in range(200)])
    )
    return false_verdicts(_replace(scenario, better=100 * smallest_detectable), draws, seed)


class Row(NamedTuple):
    """The numbers of a drawn row: accuracy of each seed, whether they are uneven, and the interval of their mean."""

    each: np.ndarray
    uneven: bool
    low: float
    high: float


def drawn_rows(scenario: Scenario, draws: int, seed: int) -> Iterator[Row]:
    """Yield rows of one method."""
    samples = simulate(scenario, 1, np.random.default_rng(seed))
    for _ in range(draws):
        (method,) = next(samples)
        interval = accuracy_interval(method.right, method.clusters)
        assert interval is not None
        yield Row(method.accuracies, uneven(method.accuracies.tolist()), *interval)


def mean_in_interval(scenario: Scenario, draws: int, seed: int) -> float:
    """Return how often the interval of the mean contains the mean accuracy of all networks."""
    mean = (1 - scenario.failing) * scenario.accuracy + scenario.failing * CHANCE
    return float(np.mean([row.low <= mean <= row.high for row in drawn_rows(scenario, draws, seed)]))


def median_in_interval(scenario: Scenario, draws: int, seed: int) -> float:
    """Return how often the interval of the mean of uneven seeds contains the median accuracy of all networks."""
    found = [(row.low, row.high) for row in drawn_rows(scenario, draws, seed) if row.uneven]
    return _contained(scenario, found)


def median_in_range(scenario: Scenario, draws: int, seed: int) -> float:
    """Return how often the range of uneven seeds contains the median accuracy of all networks."""
    found = [(row.each.min(), row.each.max()) for row in drawn_rows(scenario, draws, seed) if row.uneven]
    return _contained(scenario, found)


def median_in_row(scenario: Scenario, draws: int, seed: int) -> float:
    """Return how often what a row shows, an interval or a range, contains the median accuracy of all networks."""
    rows = drawn_rows(scenario, draws, seed)
    return _contained(scenario, [(r.each.min(), r.each.max()) if r.uneven else (r.low, r.high) for r in rows])


def _contained(scenario: Scenario, ends: Sequence[tuple[float, float]]) -> float:
    middle = _middle_network(scenario)
    return float(np.mean([low <= middle <= high for low, high in ends]))


def called_uneven(scenario: Scenario, draws: int, seed: int) -> float:
    """Return how often seeds of which none fails are called uneven."""
    return float(np.mean([row.uneven for row in drawn_rows(scenario, draws, seed)]))


def _middle_network(scenario: Scenario) -> float:
    """Return the median accuracy of the networks of a scenario of independent recordings."""
    rest = math.hypot(1.5, scenario.by_recording)
    mean = _mean(scenario.accuracy, math.hypot(rest, scenario.of_networks))
    network = scenario.of_networks * float(ndtri((0.5 - scenario.failing) / (1 - scenario.failing)))
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    return float((weights / weights.sum() / (1 + np.exp(-mean - network - rest * nodes))).sum())


def _replace(scenario: Scenario, **values: float) -> Scenario:
    return Scenario(**{**vars(scenario), **values})  # type: ignore[arg-type]


def _mean(accuracy: float, deviation: float) -> float:
    """Return the mean of a normal logit that gives this accuracy on average."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    low, high = -15.0, 20.0
    for _ in range(80):
        mean = (low + high) / 2
        found = float((weights / weights.sum() / (1 + np.exp(-mean - deviation * nodes))).sum())
        low, high = (mean, high) if found < accuracy else (low, mean)
    return (low + high) / 2


Count = Callable[[Scenario, int, int], float]


class TableRow:
    """A line of the table."""

    def __init__(
        self, group: str, name: str, scenario: Scenario, count: Count, at_most: float = 1.0, at_least: float = 0.0
    ):
        self.group, self.name, self.scenario, self.count = group, name, scenario, count
        self.at_most, self.at_least = at_most, at_least


def rows() -> list[TableRow]:
    """Return all lines of the table."""
    of_scenarios = [
        TableRow(
            "windows" if c.windows > 1 else "persons" if c.persons else "recordings", c.name, c, false_verdicts, BOUND
        )
        for c in scenarios()
    ]
    tables = [
        TableRow("tables", f"{METHODS} methods, {what}; {c.name}", c, false_tables, BOUND)
        for what, better in (("all equal", 0.0), ("one better by 6 points", 6.0))
        for c in (Scenario(264, 5, 0.9, 0.5, better=better), Scenario(2_264, 5, 0.9, 0.5, better=better))
    ]
    looks = [
        TableRow("looks", f"looked at with {', '.join(map(str, LOOKS))} seeds; {c.name}", c, false_looks, BOUND)
        for c in (
            Scenario(264, 10, 0.9, 0.5),
            Scenario(2_264, 10, 0.9, 0.5),
            Scenario(2_264, 10, 0.5, 0.5, paired=True),
        )
    ]
    three = Scenario(10_000, 5, 0.9, 0.5, of_networks=0.135, better=3.0)  # 1 point between networks
    power = [TableRow("power", f"3 points; {three.name}, sd 1 point", three, false_verdicts, at_least=0.8)] + [
        TableRow("power", f"the smallest difference with a reported power of 80 %; {c.name}", c, power_at_smallest)
        for c in (
            Scenario(264, 5, 0.9, 0.5),
            Scenario(2_264, 5, 0.9, 0.5),
            Scenario(2_264, 10, 0.7, 0.5),
            Scenario(264, 5, 0.7, persons=29),
        )
    ]
    seeds = []
    for n in (4, 5, 10):
        c = Scenario(2_264, n, 0.98, of_networks=0.2, failing=0.1)
        seeds += [
            TableRow("seeds", f"the interval of the mean contains the mean; {c.name}", c, mean_in_interval),
            TableRow("seeds", f"of uneven rows, it contains the median; {c.name}", c, median_in_interval),
            TableRow("seeds", f"of uneven rows, the range contains the median; {c.name}", c, median_in_range),
            TableRow("seeds", f"what is shown contains the median; {c.name}", c, median_in_row, at_least=0.9),
            TableRow("seeds", f"false verdicts; {c.name}", c, false_verdicts, BOUND),
        ]
    for n in (3, 4, 10):
        for points, spread in ((1, 0.135), (3, 0.4)):
            c = Scenario(2_264, n, 0.9, of_networks=spread)
            name = f"no seed fails, but rows are called uneven; {c.name}, sd {points} point{'s' * (points > 1)}"
            seeds.append(TableRow("seeds", name, c, called_uneven, at_most=0.03))
    return [*of_scenarios, *tables, *looks, *power, *seeds]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20_000, help="of each scenario (default 20000)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="each gives a column (default 0 1)")
    parser.add_argument("--cells", nargs="+", help="groups: recordings, persons, windows, tables, looks, power, seeds")
    parser.add_argument("--out", type=Path, help="file for the table, in Markdown")
    chosen = parser.parse_args(arguments)
    begun, failed, lines = time.time(), 0, []
    print(f"{len(list(scenarios()))} scenarios; {chosen.draws:,} draws each, seeds {chosen.seeds}", flush=True)
    for row in rows():
        if chosen.cells and row.group not in chosen.cells:
            continue
        draws = math.ceil(chosen.draws / 4) if row.group == "seeds" else chosen.draws
        found = [row.count(row.scenario, draws, seed) for seed in chosen.seeds]
        wrong = any(not row.at_least <= each <= row.at_most for each in found)
        failed += wrong
        limit = (
            f"at most {row.at_most:.0%}" if row.at_most < 1 else f"at least {row.at_least:.0%}" if row.at_least else ""
        )
        lines.append([row.group, row.name, *(f"{each:.2%}" for each in found), limit + " MISSED" * wrong])
        print(" | ".join(lines[-1]), f"  [{time.time() - begun:.0f} s]", flush=True)
    head = ["", "scenario", *(f"seed {seed}" for seed in chosen.seeds), "must be"]
    if chosen.out:
        table = [head, [":--", ":--", *("--:" for _ in chosen.seeds), ":--"], *lines]
        chosen.out.write_text(
            ABOUT.format(draws=chosen.draws) + "\n".join(f"| {' | '.join(line)} |" for line in table) + "\n"
        )
    print(f"{failed} of {len(lines)} missed")
    return int(failed > 0)


ABOUT = """# Calibration of verdicts

`snnlab bench` reports which of two methods is better, or "cannot tell". This table, made by `make calibrate`
(`scripts/calibrate_verdicts.py`, which describes the simulation), shows how often it calls one of two equally good
methods better, in {draws:,} draws each; and how often it detects a real difference.

The lines `seeds`, with a quarter of the draws, are on methods of which one network in ten guesses. Of four seeds, in
two of three cases none fails, and then the interval of their mean does not contain the mean of all networks: a row says
nothing of failures that it does not have. If one fails, the row is uneven: two of its seeds, in order of accuracy, are
more than ten points apart. It shows each seed, and the median and the range in place of the mean and its interval,
which often misses the accuracy of a usual network. Seeds that train alike are seldom so far apart.

"""

if __name__ == "__main__":
    sys.exit(main())
