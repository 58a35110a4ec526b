"""The protocol below a table and the flags of its rows, generated from the recorded runs."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from snnlab.errors import RunFolderError, join_names, one_line
from snnlab.experiments.suite_reading import GIVEN, RecordedSuite, SuiteRun, steps_of
from snnlab.experiments.suite_statistics import MethodRow
from snnlab.runs.run_folder import CONFIG
from snnlab.runs.runs_table import group_by, is_limit
from snnlab.runs.statistics import LEVEL, MIN_CLUSTERS, MIN_SEEDS, UNEVEN_GAP
from snnlab.runs.tables import short_number

_SEEDS = "a seed changes initialization, order, augmentation and dropout; the split and the test recordings stay"
_ACCURACY = (
    "on the test recordings, at the epoch that was chosen without them; mean ± standard deviation over seeds (n - 1);"
    " the 95 % interval holds for new seeds and new test recordings (Student's t over both; with one seed, for that"
    " network on new recordings); it says nothing of seeds that fail and were not among these. Of a row of which two"
    f" seeds, in order of accuracy, are more than {100 * UNEVEN_GAP:.0f} points apart: the median and the range"
)
_RANKING = (
    "by mean test accuracy; each two rows are compared on the same test recordings, for new seeds and new recordings:"
    " Student's t, both as random effects, the windows of a recording or the recordings of a person as one; p is"
    " adjusted by Holm's method for all pairs, and for earlier looks with fewer seeds; the interval of a difference is"
    f" not; a verdict takes {MIN_SEEDS} seeds each, {MIN_CLUSTERS} independent groups, and a p below {LEVEL:.0%}; with"
    " one seed each it is"
    " McNemar's test of two networks"
)
_OPERATIONS = (
    "NeuroBench's definitions, before fusion. Dense: every weight and input; MACs and ACs: weights and inputs other"
    " than 0; ACs where a layer's whole input of a sample and step is 0, 1 or -1. Padding and biases count nothing."
    " Membrane updates: neurons times steps. Footprint: parameters and buffers. Sparsity: the part that is 0"
)
_KINDS = {"counts": "counts of events", "binary": "binary: whether there is an event"}
_LIMITS = {"limit_train_batches": "trained", "limit_val_batches": "validated"}


class ProtocolField(NamedTuple):
    """One field of a protocol.

    Attributes:
        about: The field's name, such as `split`.
        said: The text for all methods; or, if they differ, the text of each group of methods, in their order.
    """

    about: str
    said: str


def protocol(suite: RecordedSuite, rows: Sequence[MethodRow]) -> list[ProtocolField]:
    """Return the protocol of one dataset's rows.

    Args:
        suite: The content of the suite's folder.
    """
    several = sum(row.role != GIVEN for row in rows) > 1
    differs = "; ".join(f"{row.method}: {' '.join(row.differs) or 'the defaults'}" for row in rows)
    fields = {
        "runs": _runs_text(rows),
        "seeds": f"{_grouped_text((row, join_names(map(str, row.seeds)) or 'none') for row in rows)}; {_SEEDS}",
        **{about: _grouped_text(_row_texts(rows, text_of)) for about, text_of in _FIELDS.items()},
        "methods": differs if len(rows) > 1 else "",
        "budget": _budget_text(suite, rows) if suite.match is not None else "",
        "accuracy": _ACCURACY,
        "ranking": _RANKING if several else "",
        "operations": _OPERATIONS,
        "energy": str(suite.energy),
        "command": suite.command or "",
    }
    return [ProtocolField(about, text) for about, text in fields.items() if text]


def flags(
    suite: RecordedSuite,
    dataset: str,
    runs: Sequence[SuiteRun],
    peers: Sequence[SuiteRun],
    repeated_seeds: Sequence[int],
) -> list[str]:
    """Return the flags of a method: the limitations of its runs.

    Args:
        suite: The content of the suite's folder.
        runs: The method's runs, one per seed.
        peers: All tested runs of the dataset.
        repeated_seeds: Seeds with several runs.
    """
    tested = [run for run in runs if run.tested]
    found = [
        *_missing_run_flags(runs),
        *(f"seed {seed} was trained several times: the last run counts" for seed in repeated_seeds),
    ]
    if controls := list(dict.fromkeys(str(name) for run in tested if (name := _result_page(run).get("control")))):
        found.append(f"control {join_names(controls)}: no result")
    if any((run.part("provenance").get("git") or {}).get("dirty") for run in tested):
        found.append("dirty tree")
    if any(run.part("provenance").get("git") is None for run in tested):
        found.append("no commit")
    found += _version_flags(tested, peers)
    found += _test_set_flags(tested, peers)
    found += _limit_flags(tested)
    if suite.tune is not None and not all(run.tuned for run in tested):
        found.append("untuned")
    match = (suite.matched.get(dataset) or {}).get(runs[0].method)
    if match is not None and match.get("beyond"):
        by = str((suite.match or {}).get("by") or "value").replace("_", " ")
        found.append(f"off its budget: {match['off']:.2f} x the first method's {by}")
    return found


def _result_page(run: SuiteRun) -> Mapping[str, Any]:
    return {} if run.recorded is None else run.recorded.content


def _row_texts(rows: Sequence[MethodRow], text_of: Callable[[SuiteRun], str | None]) -> list[tuple[MethodRow, str]]:
    """Return the text of a field for each row that has one."""
    found = [
        (row, " / ".join(dict.fromkeys(text for run in row.tested if (text := _text(run, text_of))))) for row in rows
    ]
    return [(row, text) for row, text in found if text]


def _text(run: SuiteRun, text_of: Callable[[SuiteRun], str | None]) -> str | None:
    """Return the text of a field."""
    try:
        return text_of(run)
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise RunFolderError(run.folder / CONFIG, f"has a setting of another type ({one_line(error)})") from error


def _grouped_text(texts: Iterable[tuple[MethodRow, str]]) -> str:
    """Return the text of all methods; if they differ, the text of each group of equal methods."""
    groups = {text: [row.method for row, _ in of] for text, of in group_by(texts, lambda one: one[1]).items()}
    if len(groups) == 1:
        return next(iter(groups))
    return "; ".join(f"{join_names(methods)}: {text}" for text, methods in groups.items())


def _runs_text(rows: Sequence[MethodRow]) -> str:
    planned, tested = sum(row.planned for row in rows), sum(len(row.seeds) for row in rows)
    failed = [run for row in rows for run in row.runs if run.status == "failed"]
    why = "; ".join(f"{run.method} seed {run.seed} ({run.error or 'no reason recorded'})" for run in failed)
    return f"{tested} of {planned} completed and tested, {len(failed)} failed{': ' if why else ''}{why}"


def _budget_text(suite: RecordedSuite, rows: Sequence[MethodRow]) -> str:
    match = suite.match or {}
    by = str(match.get("by", "")).replace("_", " ")
    lines = [f"{by} of all methods within {match.get('within', 0):.0%} of the first method's"]
    for row in rows:
        if (own := (suite.matched.get(row.dataset) or {}).get(row.method)) is not None:
            lines.append(f"{row.method} {short_number(own['value'])} ({own['off']:.2f} x)")
    return "; ".join(lines)


def _split_text(run: SuiteRun) -> str | None:
    rule, own = run.part("selection").get("val_rule"), run.part("provenance").get("split_hash")
    return None if rule is None else f"{rule}; hash {_short_text(own)}"


def _sizes_text(run: SuiteRun) -> str:
    phrase = {"train": "to train", "val": "to validate", "test": "to test"}
    parts = [(run.part("selection").get(f"{part}_size"), what) for part, what in phrase.items()]
    return ", ".join(f"{size:,} {what}" for size, what in parts if size is not None)


def _test_set(run: SuiteRun) -> str | None:
    data = run.part("provenance").get("data_fingerprint")
    return None if data is None else f"list {_short_text(_test_set_hash(run))}, recordings {_short_text(data)}"


def _selection_text(run: SuiteRun) -> str | None:
    rule, epochs = run.part("selection").get("rule"), run.part("selection").get("epochs")
    if epochs == 0:
        return "given weights, not trained here"
    if rule is None or epochs == 1:
        return None if rule is None else "the only epoch"
    return f"{str(rule).replace('_', ' ')}, of {epochs} epochs" if rule != "last" else f"the last of {epochs} epochs"


def _tuning_text(run: SuiteRun) -> str:
    search = run.tuned or run.part("search")
    if not search:
        return "none: settings as written"
    trials, size = search.get("trials"), search.get("val_size")
    return f"{trials} trials" + ("" if size is None else f", judged on {size:,} validation recordings")


def _time_steps(run: SuiteRun) -> str | None:
    duration, steps = run.settings.get("data.duration_ms"), steps_of(run.settings)
    if duration is None or steps is None:
        return None
    if run.settings.get("data.bin_by", "time") == "count":
        return f"{float(duration):g} ms in {steps} steps of equally many events, which have no dt"
    return f"{float(duration):g} ms in {steps} step{'s' if steps > 1 else ''} of {float(duration) / steps:g} ms"


def _causality(run: SuiteRun) -> str:
    """Return whether an answer at a step is causal: whether it needs only events before the end of the step."""
    config, why = run.settings, []
    if config.get("data.bin_by", "time") == "count" and config.get("data.events_per_bin") is None:
        why.append("equal parts of the events need all of them")
    if overlap := float(config.get("data.overlap_ms") or 0):
        why.append(f"a frame has the first {overlap:g} ms of the next step")
    if ahead := _look_ahead(_representation_text(run)):
        until = "of the whole window" if ahead == math.inf else f"up to {ahead:g} steps after its end"
        why.append(f"a frame has events {until}")
    return f"not causal: {'; '.join(why)}" if why else "causal: a frame holds nothing after its step's end"


def _input_text(run: SuiteRun) -> str:
    names = ("stabilize", "crop", "downsample", "hot_pixels_hz", "stride_ms")
    more = [f"{name} {value}" for name in names if (value := run.settings.get(f"data.{name}")) not in (None, 1, False)]
    return ", ".join([_KINDS.get(_representation_text(run), _representation_text(run)), *more])


@cache
def _look_ahead(frames: str) -> float:
    if frames == "counts":  # the default representation needs no import of torch
        return 0.0
    from snnlab.data.events.representation import REPRESENTATIONS

    return (
        getattr(REPRESENTATIONS.get(frames, "data.representation"), "look_ahead_steps", 0.0)
        if frames in REPRESENTATIONS
        else 0.0
    )


def _representation_text(run: SuiteRun) -> str:
    return str(run.settings.get("data.representation") or run.settings.get("data.representation.type") or "counts")


def _augmentation_field(run: SuiteRun) -> str:
    mix = run.settings.get("data.mix") or run.settings.get("data.mix.type")
    items = [_augmentation_text(node) for node in run.settings.get("data.augment") or []]
    return ", ".join([*items, *([f"mixing {mix}"] if mix else [])]) or "none"


def _augmentation_text(node: Any) -> str:
    if not isinstance(node, dict):
        return str(node)
    more = ", ".join(f"{key} {value}" for key, value in node.items() if key != "type")
    return f"{node.get('type', '?')}" + (f" ({more})" if more else "")


def _readout_text(run: SuiteRun) -> str:
    config = run.settings
    layers = [key.split(".")[2] for key in config if key.startswith("model.layers.")]
    last = config.get(f"model.layers.{layers[-1]}.type", layers[-1]) if layers else "?"
    over = config.get("loss.readout")
    return f"{last}, {over} over the steps" if over else f"{last}, as the loss {config.get('loss.type', '?')} reads it"


def _training_text(run: SuiteRun) -> str | None:
    if run.part("selection").get("epochs") == 0:
        return None
    config = run.settings
    items = [str(config.get("loss.type", "?"))]
    items.append(f"{_class_name(config.get('optimizer._target_'))} lr {config.get('optimizer.lr', '?')}")
    if (schedule := config.get("scheduler._target_")) is not None:
        items.append(_class_name(schedule))
    batch = config.get("data.batch_size") or (run.part("provenance").get("processes") or {}).get("recordings_per_step")
    return ", ".join([*items, *([] if batch is None else [f"batches of {batch}"])])


def _precision_text(run: SuiteRun) -> str:
    numerics = run.part("provenance").get("numerics") or {}
    items = [str(run.settings.get("trainer.precision", numerics.get("default_dtype", "")))]
    for key, phrase in (("float32_matmul_precision", "matrix products {}"), ("backend", "neurons by {}")):
        if numerics.get(key) is not None:
            items.append(phrase.format(numerics[key]))
    if numerics.get("deterministic_algorithms"):
        items.append("deterministic algorithms")
    return ", ".join(part for part in items if part)


def _device_text(run: SuiteRun) -> str | None:
    provenance = run.part("provenance")
    name, threads = provenance.get("device"), provenance.get("threads")
    number = (provenance.get("processes") or {}).get("number", 1)
    text = f"{name}, {threads} thread{'s' if threads != 1 else ''}"
    return None if name is None else text + (f", {number} processes" if number > 1 else "")


def _software_text(run: SuiteRun) -> str:
    provenance = run.part("provenance")
    found = {"Python": provenance.get("python"), **(provenance.get("packages") or {})}
    return ", ".join(f"{name} {version}" for name, version in found.items() if version)


def _commit(run: SuiteRun) -> str | None:
    """Return the commit of the code; of an older run, that of the repository it was started in."""
    provenance = run.part("provenance")
    if (git := provenance.get("git")) is None:
        return "unknown: snnlab was not run from a checkout" if provenance else None
    where = "" if "working_folder" in provenance else ", of the working folder"
    dirty = {True: ", with changes that are not committed", None: ", perhaps with changes"}.get(git.get("dirty"), "")
    return f"{git.get('commit')}{where}{dirty}"


# In the order of the protocol.
_FIELDS: Mapping[str, Callable[[SuiteRun], str | None]] = {
    "split": _split_text,
    "sizes": _sizes_text,
    "test set": _test_set,
    "selection": _selection_text,
    "tuning": _tuning_text,
    "clock": _time_steps,
    "framing": _causality,
    "input": _input_text,
    "augmentation": _augmentation_field,
    "readout": _readout_text,
    "training": _training_text,
    "precision": _precision_text,
    "devices": _device_text,
    "versions": _software_text,
    "commit": _commit,
}


def _class_name(target: Any) -> str:
    return str(target).rpartition(".")[2]


def _short_text(value: Any) -> str:
    return "?" if value is None else str(value)[:12]


def _test_set_hash(run: SuiteRun) -> str:
    """Return a hash that identifies the test recordings of a run: the data, and its test list."""
    which = None if run.recorded is None else run.recorded.test_list_hash
    return hashlib.sha256(f"{run.part('provenance').get('data_fingerprint')} {which}".encode()).hexdigest()


def _test_set_flags(tested: Sequence[SuiteRun], peers: Sequence[SuiteRun]) -> list[str]:
    """Return whether runs were tested on other recordings than most runs of their seed, and than those of other seeds.

    Seeds have other test recordings if a setting of the data follows the seed, such as the permutation of PS-MNIST.
    """
    own = {run.seed: _test_set_hash(run) for run in tested}
    hashes = [(run.seed, _test_set_hash(run)) for run in peers]
    of_seeds, of_all = Counter(hashes), Counter(value for _, value in hashes)
    # As many of one seed have each: that of most runs counts.
    usual = dict(sorted(of_seeds, key=lambda key: (of_seeds[key], of_all[key[1]])))
    if any(usual[seed] != value for seed, value in own.items()):
        return ["other test recordings"]
    return ["test recordings differ by seed"] if len({*own.values()}) > 1 else []


def _missing_run_flags(runs: Sequence[SuiteRun]) -> list[str]:
    failed = sum(run.status == "failed" for run in runs)
    found = [f"{failed} of {len(runs)} failed"] if failed else []
    why = group_by((run for run in runs if not run.tested and run.status != "failed"), _reason_text)
    for reason, of in why.items():
        found.append(f"seed{'s' if len(of) > 1 else ''} {join_names(str(run.seed) for run in of)} {reason}")
    return found


def _reason_text(run: SuiteRun) -> str:
    error = f" ({run.error})" if run.error else ""
    return "not tested" if run.status == "completed" else run.status + error


def _version_flags(tested: Sequence[SuiteRun], peers: Sequence[SuiteRun]) -> list[str]:
    """Return the software whose version differs from that of most runs of the dataset."""
    all_versions, own = ([_versions(run) for run in runs] for runs in (peers, tested))
    usual = {name: _most_common(found.get(name) for found in all_versions) for found in own for name in found}
    other = [name for name, value in usual.items() if any(found.get(name) != value for found in own)]
    return [f"mixed versions: {join_names(other)}"] if other else []


def _versions(run: SuiteRun) -> dict[str, str]:
    provenance = run.part("provenance")
    commit = (provenance.get("git") or {}).get("commit")
    found = {"commit": commit, "python": provenance.get("python"), **(provenance.get("packages") or {})}
    return {name: str(version) for name, version in found.items()}


def _most_common(values: Iterable[Any]) -> Any:
    counts = Counter(values)
    return counts.most_common(1)[0][0] if counts else None


def _limit_flags(tested: Sequence[SuiteRun]) -> list[str]:
    """Return whether the trainer's limits restrict training, validation or test to some of the recordings."""
    seen = [(run.metrics.get("test/recordings"), run.part("selection").get("test_size")) for run in tested]
    less = [f"tested on {size:,.0f} of {of:,} recordings" for size, of in seen if size is not None and of and size < of]
    limited = less[:1]
    for key, what in _LIMITS.items():
        found = [value for run in tested if is_limit(value := run.settings.get(f"trainer.{key}"))]
        limited += [f"{what} on a part: {key}={value}" for value in found[:1]]
    return limited
