"""The protocol below a table and the flags of its rows, generated from the recorded runs."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from snnlab.errors import listing
from snnlab.experiments.suite_figures import Row, short_number
from snnlab.experiments.suite_reading import Cell, Read, steps_of
from snnlab.runs.runs_table import grouped, is_limit
from snnlab.runs.statistics import LEVEL, MIN_CLUSTERS, MIN_SEEDS

_SEEDS = "a seed changes initialisation, order, augmentation and dropout; the split and the test recordings stay"
_ACCURACY = (
    "on the test recordings, at the epoch that was chosen without them; mean ± standard deviation over seeds (n - 1);"
    " the 95 % interval holds for new seeds and new test recordings (Student's t over both; with one seed, for that"
    " network on new recordings)"
)
_RANKING = (
    "by mean test accuracy; each two rows are compared on the same test recordings, for new seeds and new recordings:"
    " Student's t, both as random effects, the windows of a recording or the recordings of a person as one; p is"
    " adjusted by Holm's method for all pairs, and for earlier looks with fewer seeds; a verdict takes"
    f" {MIN_SEEDS} seeds each, {MIN_CLUSTERS} independent groups, and a p below {LEVEL:.0%}; with one seed each it is"
    " McNemar's test of two networks"
)
_OPERATIONS = (
    "NeuroBench's definitions, before fusion. Dense: every weight and input; MACs and ACs: weights and inputs other"
    " than 0; ACs where a layer's whole input of a sample and step is 0, 1 or -1. Padding and biases count nothing."
    " Membrane updates: neurons times steps. Footprint: parameters and buffers. Sparsity: the part that is 0"
)
_KINDS = {"counts": "counts of events", "binary": "binary: whether there is an event"}
_LIMITS = {"limit_train_batches": "trained", "limit_val_batches": "validated"}


class Clause(NamedTuple):
    """One field of a protocol.

    Attributes:
        about: The field's name, such as `split`.
        said: The text for all methods; or, if they differ, the text of each group of methods, in their order.
    """

    about: str
    said: str


def protocol(read: Read, rows: Sequence[Row]) -> list[Clause]:
    """Return the protocol of one dataset's rows.

    Args:
        read: The content of the suite's folder.
    """
    several = len(rows) > 1
    differs = "; ".join(f"{row.arm}: {' '.join(row.differs) or 'the defaults'}" for row in rows)
    said = {
        "runs": _runs(rows),
        "seeds": f"{_each((row, listing(map(str, row.seeds)) or 'none') for row in rows)}; {_SEEDS}",
        **{about: _each(_texts(rows, say)) for about, say in _CLAUSES.items()},
        "arms": differs if several else "",
        "budget": _budget(read, rows) if read.match is not None else "",
        "accuracy": _ACCURACY,
        "ranking": _RANKING if several else "",
        "operations": _OPERATIONS,
        "energy": str(read.energy),
        "command": read.command or "",
    }
    return [Clause(about, text) for about, text in said.items() if text]


def flags(read: Read, dataset: str, cells: Sequence[Cell], peers: Sequence[Cell], twice: Sequence[int]) -> list[str]:
    """Return the flags of a method: the limitations of its runs.

    Args:
        read: The content of the suite's folder.
        cells: The method's runs, one per seed.
        peers: All tested runs of the dataset.
        twice: Seeds with several runs.
    """
    tested = [cell for cell in cells if cell.tested]
    said = [*_missing(cells), *(f"seed {seed} was trained several times: the last run counts" for seed in twice)]
    if controls := list(dict.fromkeys(str(name) for cell in tested if (name := _page(cell).get("control")))):
        said.append(f"control {listing(controls)}: no result")
    if any((cell.part("provenance").get("git") or {}).get("dirty") for cell in tested):
        said.append("dirty tree")
    if any(cell.part("provenance").get("git") is None for cell in tested):
        said.append("no commit")
    said += _other_versions(tested, peers)
    usual = _most(_hash_of_test(cell) for cell in peers)
    if any(_hash_of_test(cell) != usual for cell in tested):
        said.append("other test recordings")
    said += _in_part(tested)
    if read.tune is not None and not all(cell.tuned for cell in tested):
        said.append("untuned")
    match = (read.matched.get(dataset) or {}).get(cells[0].arm)
    if match is not None and match.get("beyond"):
        by = str((read.match or {}).get("by") or "value").replace("_", " ")
        said.append(f"off its budget: {match['off']:.2f} x the first method's {by}")
    return said


def _page(cell: Cell) -> Mapping[str, Any]:
    return {} if cell.run is None else cell.run.page


def _texts(rows: Sequence[Row], say: Callable[[Cell], str | None]) -> list[tuple[Row, str]]:
    """Return the text of a field for each row that has one."""
    found = [(row, " / ".join(dict.fromkeys(text for cell in row.tested if (text := say(cell))))) for row in rows]
    return [(row, text) for row, text in found if text]


def _each(texts: Iterable[tuple[Row, str]]) -> str:
    """Return the text of all methods; if they differ, the text of each group of equal methods."""
    alike = {text: [row.arm for row, _ in of] for text, of in grouped(texts, lambda one: one[1]).items()}
    if len(alike) == 1:
        return next(iter(alike))
    return "; ".join(f"{listing(arms)}: {said}" for said, arms in alike.items())


def _runs(rows: Sequence[Row]) -> str:
    asked, tested = sum(row.asked for row in rows), sum(len(row.seeds) for row in rows)
    failed = [cell for row in rows for cell in row.cells if cell.status == "failed"]
    why = "; ".join(f"{cell.arm} seed {cell.seed} ({cell.error or 'no reason recorded'})" for cell in failed)
    return f"{tested} of {asked} completed and tested, {len(failed)} failed{': ' if why else ''}{why}"


def _budget(read: Read, rows: Sequence[Row]) -> str:
    match = read.match or {}
    by = str(match.get("by", "")).replace("_", " ")
    said = [f"{by} of all methods within {match.get('within', 0):.0%} of the first method's"]
    for row in rows:
        if (own := (read.matched.get(row.dataset) or {}).get(row.arm)) is not None:
            said.append(f"{row.arm} {short_number(own['value'])} ({own['off']:.2f} x)")
    return "; ".join(said)


def _split(cell: Cell) -> str | None:
    rule, own = cell.part("selection").get("val_rule"), cell.part("provenance").get("split_hash")
    return None if rule is None else f"{rule}; hash {_short(own)}"


def _sizes(cell: Cell) -> str:
    words = {"train": "to train", "val": "to validate", "test": "to test"}
    parts = [(cell.part("selection").get(f"{part}_size"), what) for part, what in words.items()]
    return ", ".join(f"{size:,} {what}" for size, what in parts if size is not None)


def _test_set(cell: Cell) -> str | None:
    data = cell.part("provenance").get("data_fingerprint")
    return None if data is None else f"list {_short(_hash_of_test(cell))}, recordings {_short(data)}"


def _selection(cell: Cell) -> str | None:
    rule, epochs = cell.part("selection").get("rule"), cell.part("selection").get("epochs")
    if rule is None or epochs == 1:
        return None if rule is None else "the only epoch"
    return f"{str(rule).replace('_', ' ')}, of {epochs} epochs" if rule != "last" else f"the last of {epochs} epochs"


def _tuning(cell: Cell) -> str:
    search = cell.tuned or cell.part("search")
    if not search:
        return "none: settings as written"
    trials, size = search.get("trials"), search.get("val_size")
    return f"{trials} trials" + ("" if size is None else f", judged on {size:,} validation recordings")


def _clock(cell: Cell) -> str | None:
    duration, steps = cell.config.get("data.duration_ms"), steps_of(cell.config)
    if duration is None or steps is None:
        return None
    if cell.config.get("data.bin_by", "time") == "count":
        return f"{float(duration):g} ms in {steps} steps of equally many events, which have no dt"
    return f"{float(duration):g} ms in {steps} step{'s' if steps > 1 else ''} of {float(duration) / steps:g} ms"


def _framing(cell: Cell) -> str:
    """Return whether an answer at a step is causal: whether it needs only events before the end of the step."""
    config, why = cell.config, []
    if config.get("data.bin_by", "time") == "count" and config.get("data.events_per_bin") is None:
        why.append("equal parts of the events need all of them")
    if overlap := float(config.get("data.overlap_ms") or 0):
        why.append(f"a frame has the first {overlap:g} ms of the next step")
    if ahead := _look_ahead(_frames(cell)):
        why.append(f"a frame has events up to {ahead:g} steps after its end")
    return f"not causal: {'; '.join(why)}" if why else "causal: a frame holds nothing after its step's end"


def _input(cell: Cell) -> str:
    names = ("still", "crop", "downsample", "hot_pixels_hz", "stride_ms")
    more = [f"{name} {value}" for name in names if (value := cell.config.get(f"data.{name}")) not in (None, 1, False)]
    return ", ".join([_KINDS.get(_frames(cell), _frames(cell)), *more])


@cache
def _look_ahead(frames: str) -> float:
    if frames == "counts":  # the default representation needs no import of torch
        return 0.0
    from snnlab.data.events.representation import FRAMES

    return getattr(FRAMES.get(frames, "data.frames"), "look_ahead_steps", 0.0) if frames in FRAMES else 0.0


def _frames(cell: Cell) -> str:
    return str(cell.config.get("data.frames") or cell.config.get("data.frames.type") or "counts")


def _augmentation(cell: Cell) -> str:
    mix = cell.config.get("data.mix") or cell.config.get("data.mix.type")
    said = [_node(node) for node in cell.config.get("data.augment") or []]
    return ", ".join([*said, *([f"mixing {mix}"] if mix else [])]) or "none"


def _node(node: Any) -> str:
    if not isinstance(node, dict):
        return str(node)
    more = ", ".join(f"{key} {value}" for key, value in node.items() if key != "type")
    return f"{node.get('type', '?')}" + (f" ({more})" if more else "")


def _readout(cell: Cell) -> str:
    config = cell.config
    layers = [key.split(".")[2] for key in config if key.startswith("model.layers.")]
    last = config.get(f"model.layers.{layers[-1]}.type", layers[-1]) if layers else "?"
    over = config.get("loss.over_time")
    return f"{last}, {over} over the steps" if over else f"{last}, as the loss {config.get('loss.type', '?')} reads it"


def _training(cell: Cell) -> str:
    config = cell.config
    said = [str(config.get("loss.type", "?"))]
    said.append(f"{_class(config.get('optimizer._target_'))} lr {config.get('optimizer.lr', '?')}")
    if (schedule := config.get("scheduler._target_")) is not None:
        said.append(_class(schedule))
    batch = config.get("data.batch_size") or (cell.part("provenance").get("processes") or {}).get("recordings_per_step")
    return ", ".join([*said, *([] if batch is None else [f"batches of {batch}"])])


def _precision(cell: Cell) -> str:
    numerics = cell.part("provenance").get("numerics") or {}
    said = [str(cell.config.get("trainer.precision", numerics.get("default_dtype", "")))]
    for key, words in (("float32_matmul_precision", "matrix products {}"), ("backend", "neurons by {}")):
        if numerics.get(key) is not None:
            said.append(words.format(numerics[key]))
    if numerics.get("deterministic_algorithms"):
        said.append("deterministic algorithms")
    return ", ".join(part for part in said if part)


def _device(cell: Cell) -> str | None:
    provenance = cell.part("provenance")
    name, threads = provenance.get("device"), provenance.get("threads")
    number = (provenance.get("processes") or {}).get("number", 1)
    said = f"{name}, {threads} thread{'s' if threads != 1 else ''}"
    return None if name is None else said + (f", {number} processes" if number > 1 else "")


def _software(cell: Cell) -> str:
    provenance = cell.part("provenance")
    found = {"Python": provenance.get("python"), **(provenance.get("packages") or {})}
    return ", ".join(f"{name} {version}" for name, version in found.items() if version)


def _commit(cell: Cell) -> str | None:
    """Return the commit of the code; of an older run, that of the repository it was started in."""
    provenance = cell.part("provenance")
    if (git := provenance.get("git")) is None:
        return "unknown: snnlab was not run from a checkout" if provenance else None
    where = "" if "working_folder" in provenance else ", of the working folder"
    dirty = {True: ", with changes that are not committed", None: ", perhaps with changes"}.get(git.get("dirty"), "")
    return f"{git['commit']}{where}{dirty}"


# In the order of the protocol.
_CLAUSES: Mapping[str, Callable[[Cell], str | None]] = {
    "split": _split,
    "sizes": _sizes,
    "test set": _test_set,
    "selection": _selection,
    "tuning": _tuning,
    "clock": _clock,
    "framing": _framing,
    "input": _input,
    "augmentation": _augmentation,
    "readout": _readout,
    "training": _training,
    "precision": _precision,
    "devices": _device,
    "versions": _software,
    "commit": _commit,
}


def _class(target: Any) -> str:
    return str(target).rpartition(".")[2]


def _short(value: Any) -> str:
    return "?" if value is None else str(value)[:12]


def _hash_of_test(cell: Cell) -> str:
    """Return a hash that identifies the test recordings of a run: the data, and its test list."""
    provenance = cell.part("provenance")
    # Without a test list, the hash of the whole split: it may differ for equal test recordings, but is never equal for
    # different ones.
    which = _listed(cell.folder / "split.json") or provenance.get("split_hash")
    return hashlib.sha256(f"{provenance.get('data_fingerprint')} {which}".encode()).hexdigest()


def _listed(path: Path) -> str | None:
    """Return the hash of a split's list of test recordings, or None if there is no list."""
    try:
        return _hash_of_list(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError):
        return None


@cache
def _hash_of_list(path: Path, changed: int) -> str:
    """Return the hash of a long list; the result is cached until the file changes."""
    page = json.loads(path.read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(page["test"]).encode()).hexdigest()


def _missing(cells: Sequence[Cell]) -> list[str]:
    failed = sum(cell.status == "failed" for cell in cells)
    said = [f"{failed} of {len(cells)} failed"] if failed else []
    why = grouped((cell for cell in cells if not cell.tested and cell.status != "failed"), _why)
    for reason, of in why.items():
        said.append(f"seed{'s' if len(of) > 1 else ''} {listing(str(cell.seed) for cell in of)} {reason}")
    return said


def _why(cell: Cell) -> str:
    said = f" ({cell.error})" if cell.error else ""
    return "not tested" if cell.status == "completed" else cell.status + said


def _other_versions(tested: Sequence[Cell], peers: Sequence[Cell]) -> list[str]:
    """Return the software whose version differs from that of most runs of the dataset."""
    of_all, own = ([_versions(cell) for cell in cells] for cells in (peers, tested))
    usual = {name: _most(found.get(name) for found in of_all) for found in own for name in found}
    other = [name for name, value in usual.items() if any(found.get(name) != value for found in own)]
    return [f"mixed versions: {listing(other)}"] if other else []


def _versions(cell: Cell) -> dict[str, str]:
    provenance = cell.part("provenance")
    commit = (provenance.get("git") or {}).get("commit")
    found = {"commit": commit, "python": provenance.get("python"), **(provenance.get("packages") or {})}
    return {name: str(version) for name, version in found.items()}


def _most(values: Iterable[Any]) -> Any:
    counts = Counter(values)
    return counts.most_common(1)[0][0] if counts else None


def _in_part(tested: Sequence[Cell]) -> list[str]:
    """Return whether the trainer's limits restrict training, validation or test to some of the recordings."""
    seen = [(cell.metrics.get("test/recordings"), cell.part("selection").get("test_size")) for cell in tested]
    less = [f"tested on {size:,.0f} of {of:,} recordings" for size, of in seen if size is not None and of and size < of]
    said = less[:1]
    for key, what in _LIMITS.items():
        found = [value for cell in tested if is_limit(value := cell.config.get(f"trainer.{key}"))]
        said += [f"{what} on a part: {key}={value}" for value in found[:1]]
    return said
