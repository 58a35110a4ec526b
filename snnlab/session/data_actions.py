"""The actions of `snnlab data` on the recordings of an experiment: pack, inspect, verify, locate, delete."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave

from snnlab.config.schema import Experiment
from snnlab.console import say, until_pipe_closes
from snnlab.data.data_settings import DATASETS, DataSettings, without_download
from snnlab.data.dataset import Dataset
from snnlab.data.events import Events, SensorSize, Store
from snnlab.data.events.packing import copies, copies_of, folder_size, remove, store_path
from snnlab.data.file_survey import FileSurvey, survey_file
from snnlab.data.formats import ReadOptions
from snnlab.data.inspection import inspect as inspect_store
from snnlab.data.sources.folder import Folder
from snnlab.data.sources.label_table import LabelInterval
from snnlab.data.splits import Split, make_split
from snnlab.errors import ConfigError, DataError, StoreError
from snnlab.runs.console_tables import print_inspection
from snnlab.runs.plots.event_plots import draw_classes, draw_event_times, draw_events
from snnlab.runs.plots.style import default_style, render
from snnlab.runs.plots.timeline import draw_timeline
from snnlab.session.build_store import earlier_copies, open_store, split, store_folder
from snnlab.session.prediction import changed_reading
from snnlab.session.session import Session
from snnlab.target_kinds import kind_of


def run_action(action: str, experiment: Experiment, figure: str | None) -> None:
    """Run one of `ACTIONS`, or `clean_all`, and print its result.

    Args:
        figure: The file of the plot; None: one in `outputs`.
    """
    session = Session(experiment)
    settings = session.settings
    if action == "clean_all":
        with until_pipe_closes():
            clean_all(experiment, settings)
        return
    if action in _FETCHES_NOTHING:
        session = Session(replace(experiment, data=without_download(experiment.data)))
    dataset = session.dataset
    with until_pipe_closes():
        for note in dataset.notes:
            say(note)
        ACTIONS[action](settings, dataset, figure)


def prepare(settings: DataSettings, dataset: Dataset, figure: str | None) -> None:
    """Pack the recordings."""
    print(_size_text(open_store(dataset, settings)))


def inspect(settings: DataSettings, dataset: Dataset, figure: str | None) -> None:
    """Print statistics of the recordings, and draw them."""
    # Bad recordings are part of the report.
    store = open_store(dataset, replace(settings, on_bad="skip"))
    found = inspect_store(store, _split(settings, store, dataset), settings, dataset.class_names)
    width, height, polarities = settings.size
    kind = {1: "", 2: ", ON and OFF"}.get(polarities, f", {polarities} polarities")
    name = settings.name or dataset.label
    head = f"{name}: {_size_text(store)}; {width} x {height} pixels{kind}"
    print_inspection(head, found, settings, [dataset.name(index) for index in found.empty])
    if store.bad:
        say(f"{len(store.bad):,} recordings cannot be used:", *store.bad.values())
    target = Path(figure or f"outputs/data_{name}.png")
    _draw(store, settings, dataset, [group.name for group in found.classes], target)
    print(target)


# Events of a file that a picture shows.
_SHOWN_EVENTS = 1_000_000


def inspect_file(path: Path, options: Mapping[str, str], figure: str | None) -> None:
    """Print what a file of events holds, and draw its beginning.

    Args:
        path: The file.
        options: `--time-unit` and `--columns`, where they are given.
        figure: The file of the picture; None: none.

    Raises:
        DataError: if it is damaged, or of no known format.
    """
    reading = changed_reading(ReadOptions(time_origin="zero"), options, "data inspect")
    found = survey_file(path, reading, 0 if figure is None else _SHOWN_EVENTS)
    with until_pipe_closes():
        for line in _survey_lines(path, found):
            print(line)
        if figure is not None and found.columns is not None and found.rows is not None:
            width, height = found.size or (found.columns[1] + 1, found.rows[1] + 1)
            _draw_start(found.start, (width, height, 2), path.name, Path(figure))
            print(figure)


def _draw_start(start: Events, size: SensorSize, name: str, target: Path) -> None:
    """Draw the first events of a file, as images and over time."""
    x, y = start.x, start.y
    assert y is not None
    inside = np.flatnonzero((x >= 0) & (x < size[0]) & (y >= 0) & (y < size[1]))
    start = start.take(inside[np.argsort(start.t[inside], kind="stable")])
    duration_ms = (int(start.t.max(initial=0)) + 1) / 1000
    with default_style():
        _save([draw(start, size, duration_ms, name) for draw in (draw_events, draw_event_times)], target)


def _survey_lines(path: Path, found: FileSurvey) -> list[str]:
    """Return what is printed about a file."""
    sensor = "no size stated" if found.size is None else f"{found.size[0]} x {found.size[1]} pixels"
    head = f"{path}: {found.form}, {sensor}, {found.events:,} events"
    if found.span_us is None or found.columns is None or found.rows is None or found.on is None:
        return [head]
    first, last = found.span_us
    ms = (last - first) / 1000
    rate = f", {found.events / ms:,.4g} events per ms" if ms else ""
    lines = [
        f"{head} in {ms:,.6g} ms{rate}, {found.on:.1%} ON",
        f"  times {first:,} to {last:,} us, columns {found.columns[0]} to {found.columns[1]},"
        f" rows {found.rows[0]} to {found.rows[1]}",
    ]
    if found.others:
        lines.append(f"  no events, such as frames, triggers or IMU: {found.others:,}")
    lines += [f"  {fault.what}: {fault.number:,} events, the first is {fault.first}" for fault in found.faults]
    return lines


def verify(settings: DataSettings, dataset: Dataset, figure: str | None) -> None:
    """Compare the packed copy with its checksums."""
    if not store_path(dataset, store_folder(settings)).exists():
        raise StoreError("data", "these recordings are not packed yet", "snnlab data prepare packs them")
    store = open_store(dataset, settings)
    store.verify()
    print(f"{_size_text(store)}: every value equals the packed one")


def where(settings: DataSettings, dataset: Dataset, figure: str | None) -> None:
    """Print the paths of the packed copy and of older ones."""
    folder = store_folder(settings)
    path = store_path(dataset, folder)
    print(_size_text(open_store(dataset, settings)) if path.exists() else f"{path}: not packed yet")
    _print_earlier_copies(dataset, folder)


def clean(settings: DataSettings, dataset: Dataset, figure: str | None) -> None:
    """Delete the packed copy of the recordings, and list older copies."""
    folder = store_folder(settings)
    path = store_path(dataset, folder)
    freed = _megabytes_text(path)
    print(f"{path} deleted, {freed} free" if remove(path) else "nothing to delete: these recordings are not packed")
    _print_earlier_copies(dataset, folder)


def clean_all(experiment: Experiment, settings: DataSettings) -> None:
    """Delete all packed copies of a dataset; its original recordings may be gone."""
    factory = DATASETS.get(experiment.data["type"], "data")
    source_folder = Path(settings.root or "data").expanduser() / getattr(factory, "folder_name", "")
    folder, label = store_folder(settings), str(getattr(factory, "label", experiment.data["type"]))
    found = copies_of(folder, label, str(source_folder.resolve()))
    for copy in found:
        if remove(copy.path):
            print(f"{copy.path} deleted, {copy.size / 1e6:,.1f} MB free")
    if not found:
        print("nothing to delete: these recordings are not packed")
    if others := copies(folder):
        size = sum(copy.size for copy in others) / 1e6
        print(f"packed copies of other recordings, not deleted: {len(others)}, {size:,.1f} MB in {folder}")


def _print_earlier_copies(dataset: Dataset, folder: Path) -> None:
    for copy in earlier_copies(dataset, folder):
        print(f"{copy.path}: an older copy, {copy.size / 1e6:,.1f} MB; snnlab data clean --all deletes it")


# Actions on the packed copies: missing recordings are not fetched.
_FETCHES_NOTHING = ("where", "clean")
ACTIONS: dict[str, Callable[[DataSettings, Dataset, str | None], None]] = {
    "prepare": prepare,
    "inspect": inspect,
    "verify": verify,
    "where": where,
    "clean": clean,
}


def _split(settings: DataSettings, store: Store, dataset: Dataset) -> Split:
    """Return the split; if it is not possible, print the reason and use no validation recordings."""
    try:
        return split(settings, store, dataset)
    except DataError as error:
        say(f"these recordings cannot be split: {error}")
        return make_split(store.targets, store.split, 0.0, settings.split_seed)


def _draw(store: Store, settings: DataSettings, dataset: Dataset, names: list[str], target: Path) -> None:
    """Draw the classes, if there are any, and one recording over time."""
    first_non_empty = int(np.argmax(store.sizes > 0))
    name = (
        f"{names[store.targets[first_non_empty]]}, recording {first_non_empty}"
        if names
        else f"recording {first_non_empty}"
    )
    with default_style():
        figures = [draw_classes(store, range(len(names)), names, settings.duration_ms)] if names else []
        figures.append(draw_event_times(store[first_non_empty], settings.size, settings.duration_ms, name))
        if labels := _labels_over_time(store, dataset):
            figures.append(draw_timeline(labels))
        _save(figures, target)


def _labels_over_time(store: Store, dataset: Dataset) -> list[LabelInterval]:
    """Return the labels of parts of recordings: those of steps, or those by which a table cuts segments."""
    if kind_of(store.targets) != "steps":
        return dataset.intervals() if isinstance(dataset, Folder) else []
    names = dataset.class_names
    return [
        LabelInterval(
            Path(dataset.name(recording)).name,
            start / 1000,
            min(end, int(store.last_t[recording]) + 1) / 1000,
            str(label if names is None else names[label]),
        )
        for recording, start, end, label in store.targets.tolist()
    ]


def _save(figures: Sequence[Figure], target: Path) -> None:
    """Write figures to a file, one below the other."""
    pixels = np.vstack([render(figure) for figure in figures])
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        imsave(target, pixels)
    except OSError as error:
        raise ConfigError("--figure", f"{target} cannot be written ({error.strerror or error})") from error


def _size_text(store: Store) -> str:
    return f"{len(store):,} recordings, {store.num_events:,} events, {_megabytes_text(store.path)} in {store.path}"


def _megabytes_text(path: Path) -> str:
    return f"{folder_size(path) / 1e6:,.1f} MB"
