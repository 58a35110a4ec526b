"""What a run's record says of how its numbers came about, a clause each; nothing where the record does not say."""

from __future__ import annotations

from typing import Any

from snnlab.record.statistics import LEVEL, MIN_CLUSTERS, MIN_SEEDS
from snnlab.record.suite.flags import hash_of_test
from snnlab.record.suite.reading import Cell, steps_of

SEEDS = "a seed changes initialisation, order, augmentation and dropout; the split and the test recordings stay"
ACCURACY = (
    "on the test recordings, at the epoch that was chosen without them; mean ± standard deviation over seeds (n - 1);"
    " the 95 % interval holds for new seeds and new test recordings (Student's t over both; with one seed, for that"
    " network on new recordings)"
)
RANKING = (
    "by mean test accuracy; each two rows are compared on the same test recordings, for new seeds and new recordings:"
    " Student's t, both as random effects, the windows of a recording or the recordings of a person as one; p is"
    " adjusted by Holm's method for all pairs, and for earlier looks with fewer seeds; a verdict takes"
    f" {MIN_SEEDS} seeds each, {MIN_CLUSTERS} independent groups, and a p below {LEVEL:.0%}; with one seed each it is"
    " McNemar's test of two networks"
)
OPERATIONS = (
    "NeuroBench's definitions, before fusion. Dense: every weight and input; MACs and ACs: weights and inputs other"
    " than 0; ACs where a layer's whole input of a sample and step is 0, 1 or -1. Padding and biases count nothing."
    " Membrane updates: neurons times steps. Footprint: parameters and buffers. Sparsity: the part that is 0"
)
# Frames that hold what comes after their step.
_LOOK_AHEAD = {"voxel_grid": "an event counts in the step before its own too"}


def split(cell: Cell) -> str | None:
    """Return how validation recordings were chosen, and the hash of all lists."""
    rule, own = cell.part("selection").get("val_rule"), cell.part("provenance").get("split_hash")
    return None if rule is None else f"{rule}; hash {_short(own)}"


def sizes(cell: Cell) -> str | None:
    """Return how many recordings are for what."""
    selection = cell.part("selection")
    parts = [(selection.get(f"{part}_size"), words) for part, words in _PARTS]
    return ", ".join(f"{size:,} {words}" for size, words in parts if size is not None) or None


_PARTS = (("train", "to train"), ("val", "to validate"), ("test", "to test"))


def test_set(cell: Cell) -> str | None:
    """Return which recordings were tested."""
    data = cell.part("provenance").get("data_fingerprint")
    return None if data is None else f"list {_short(hash_of_test(cell))}, recordings {_short(data)}"


def selection(cell: Cell) -> str | None:
    """Return how the tested epoch was chosen."""
    rule, epochs = cell.part("selection").get("rule"), cell.part("selection").get("epochs")
    if rule is None:
        return None
    if epochs == 1:
        return "the only epoch"
    return f"{str(rule).replace('_', ' ')}, of {epochs} epochs" if rule != "last" else f"the last of {epochs} epochs"


def tuning(cell: Cell) -> str:
    """Return how the settings were found."""
    search = cell.tuned or cell.part("search")
    if not search:
        return "none: settings as they are written"
    trials, size = search.get("trials"), search.get("val_size")
    return f"{trials} trials" + ("" if size is None else f", judged on {size:,} validation recordings")


def clock(cell: Cell) -> str | None:
    """Return the window and its steps."""
    duration, steps = cell.config.get("data.duration_ms"), steps_of(cell.config)
    if duration is None or steps is None:
        return None
    duration = float(duration)
    if cell.config.get("data.bin_by", "time") == "count":
        return f"{duration:g} ms in {steps} steps of equally many events, which have no dt"
    return f"{duration:g} ms in {steps} step{'s' if steps > 1 else ''} of {duration / steps:g} ms"


def framing(cell: Cell) -> str:
    """Return whether an answer at a step needs only what came before its end."""
    config, why = cell.config, []
    if config.get("data.bin_by", "time") == "count" and config.get("data.events_per_bin") is None:
        why.append("equal parts of the events need all of them")
    if overlap := float(config.get("data.overlap_ms") or 0):
        why.append(f"a frame has the first {overlap:g} ms of the next step")
    if (reason := _LOOK_AHEAD.get(_frames(config))) is not None:
        why.append(reason)
    return f"not causal: {'; '.join(why)}" if why else "causal: a frame holds nothing after its step's end"


def frames(cell: Cell) -> str:
    """Return what frames hold, of what part of the sensor."""
    config, kind = cell.config, _frames(cell.config)
    words = {"counts": "counts of events", "binary": "binary: whether there is an event"}.get(kind, kind)
    more = [f"{name} {value}" for name in _LOOKS if (value := config.get(f"data.{name}")) not in (None, 1, False)]
    return ", ".join([words, *more])


_LOOKS = ("still", "crop", "downsample", "hot_pixels_hz", "stride_ms")


def augmentation(cell: Cell) -> str:
    """Return what was done to training recordings."""
    nodes = cell.config.get("data.augment") or []
    said = [_node(node) for node in nodes]
    mix = cell.config.get("data.mix") or cell.config.get("data.mix.type")
    return ", ".join([*said, *([f"mixing {mix}"] if mix else [])]) or "none"


def readout(cell: Cell) -> str:
    """Return what answers, and how its steps become one answer."""
    config = cell.config
    layers = list(dict.fromkeys(key.split(".")[2] for key in config if key.startswith("model.layers.")))
    last = config.get(f"model.layers.{layers[-1]}.type", layers[-1]) if layers else "?"
    over = config.get("loss.over_time")
    return f"{last}, {over} over the steps" if over else f"{last}, as the loss {config.get('loss.type', '?')} reads it"


def training(cell: Cell) -> str:
    """Return loss, optimizer, schedule and batch."""
    config = cell.config
    said = [str(config.get("loss.type", "?"))]
    said.append(f"{_name(config.get('optimizer._target_'))} lr {config.get('optimizer.lr', '?')}")
    if (schedule := config.get("scheduler._target_")) is not None:
        said.append(_name(schedule))
    batch = config.get("data.batch_size") or (cell.part("provenance").get("processes") or {}).get("recordings_per_step")
    if batch is not None:
        said.append(f"batches of {batch}")
    return ", ".join(said)


def precision(cell: Cell) -> str | None:
    """Return how exactly it was computed."""
    numerics = cell.part("provenance").get("numerics") or {}
    said = [str(cell.config.get("trainer.precision", numerics.get("default_dtype", "")))]
    for key, words in (("float32_matmul_precision", "matrix products {}"), ("backend", "neurons by {}")):
        if numerics.get(key) is not None:
            said.append(words.format(numerics[key]))
    if numerics.get("deterministic_algorithms"):
        said.append("deterministic algorithms")
    return ", ".join(part for part in said if part) or None


def device(cell: Cell) -> str | None:
    """Return what it ran on."""
    provenance = cell.part("provenance")
    name, threads = provenance.get("device"), provenance.get("threads")
    if name is None:
        return None
    number = (provenance.get("processes") or {}).get("number", 1)
    said = f"{name}, {threads} thread{'s' if threads != 1 else ''}"
    return said + (f", {number} processes" if number > 1 else "")


def versions(cell: Cell) -> str | None:
    """Return the versions of Python and of all packages."""
    provenance = cell.part("provenance")
    packages = {name: version for name, version in (provenance.get("packages") or {}).items() if version}
    said = [f"Python {provenance['python']}"] if provenance.get("python") else []
    return ", ".join([*said, *(f"{name} {version}" for name, version in packages.items())]) or None


def commit(cell: Cell) -> str | None:
    """Return the commit of the code; of an older run, that of the repository it was started in."""
    provenance = cell.part("provenance")
    git = provenance.get("git")
    if git is None:
        return "unknown: snnlab was not run from a checkout" if provenance else None
    where = "" if "working_folder" in provenance else ", of the working folder"
    dirty = {True: ", with changes that are not committed", None: ", perhaps with changes"}.get(git.get("dirty"), "")
    return f"{git['commit']}{where}{dirty}"


def _frames(config: dict[str, Any]) -> str:
    return str(config.get("data.frames") or config.get("data.frames.type") or "counts")


def _node(node: Any) -> str:
    if not isinstance(node, dict):
        return str(node)
    more = [f"{key} {value}" for key, value in node.items() if key != "type"]
    return f"{node.get('type', '?')}" + (f" ({', '.join(more)})" if more else "")


def _name(target: Any) -> str:
    return str(target).rpartition(".")[2]


def _short(value: Any) -> str:
    return "?" if value is None else str(value)[:12]
