"""`snnlab data`: the recordings of an experiment: packed, looked at, verified, found, deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from snnlab.cli.options import split_options
from snnlab.console import say
from snnlab.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from snnlab.config.schema import Experiment
    from snnlab.data.data_settings import DataSettings
    from snnlab.data.dataset import Dataset
    from snnlab.data.events import Store
    from snnlab.data.splits import Split
USAGE = """usage: snnlab data ACTION [--figure FILE] [--all] [--config-dir DIR] [OVERRIDES]

  prepare   find or fetch the recordings, and pack them, as a training does when it begins
  inspect   how many there are, how long, how dense, of which classes, values and groups, and in how many windows; what
            the binning leaves out; a picture
  verify    read the packed copy and compare it with its checksums
  where     where the packed copy is, and how large; and copies of the recordings as they were before a change
  clean     delete the packed copy; --all: those of before too. The recordings stay

The overrides are those of snnlab train. Where recordings are missing that can be fetched, prepare, inspect and verify
fetch them too, and say from where and how much it is; data.download=false fetches nothing.

  snnlab data inspect                                          the embedded digits
  snnlab data inspect data=nmnist data.root=FOLDER --figure nmnist.png
  snnlab data prepare data=folder data.root=FOLDER ...
  snnlab data clean --all data=nmnist data.root=FOLDER
"""
_ALL = "--all"


def main(arguments: list[str], started: float) -> int:
    """Run the command line; return the exit status."""
    action, *rest = arguments
    if action not in ACTIONS:
        raise ConfigError("data", f"there is no action '{action}'", did_you_mean(action, ACTIONS), ACTIONS)
    options, overrides = split_options(f"data {action}", rest)
    everything, figure = _ALL in options, options.get("--figure")
    if figure is not None:
        from snnlab.runs.plots.network_figure import check_target

        check_target(figure, (".png",))

    from snnlab.config.compose import compose_once
    from snnlab.console import console_logging, until_nobody_reads
    from snnlab.session import Session

    console_logging()
    experiment, _ = compose_once(overrides, options.get("--config-dir"))
    with experiment.located_errors():
        session = Session(experiment)
        settings = session.settings
        if everything:
            with until_nobody_reads():
                clean_all(experiment, settings)
            return 0
        dataset = session.dataset
        with until_nobody_reads():
            for note in dataset.notes:
                say(note)
            ACTIONS[action](experiment, settings, dataset, figure)
    return 0


def prepare(experiment: Experiment, settings: DataSettings, dataset: Dataset, figure: str | None) -> None:
    """Pack the recordings."""
    print(_size_text(_store(settings, dataset)))


def inspect(experiment: Experiment, settings: DataSettings, dataset: Dataset, figure: str | None) -> None:
    """Print what the recordings are, and draw them."""
    from snnlab.data.inspection import inspect as inspect_store
    from snnlab.runs.console_tables import print_inspection

    # What cannot be used is among what one looks for here.
    store = _store(replace(settings, on_bad_recording="skip"), dataset)
    found = inspect_store(store, _split(settings, store, dataset), settings, dataset.class_names)
    width, height, polarities = settings.size
    kind = {1: "", 2: ", ON and OFF"}.get(polarities, f", {polarities} polarities")
    name = settings.name or dataset.label
    head = f"{name}: {_size_text(store)}; {width} x {height} pixels{kind}"
    print_inspection(head, found, settings, [dataset.name(index) for index in found.empty])
    if store.bad:
        say(f"{len(store.bad):,} recordings that cannot be used:", *store.bad.values())
    target = Path(figure or f"outputs/data_{name}.png")
    _draw(store, settings, dataset, [group.name for group in found.classes], target)
    print(target)


def verify(experiment: Experiment, settings: DataSettings, dataset: Dataset, figure: str | None) -> None:
    """Compare the packed copy with its checksums."""
    from snnlab.data.events.packing import store_path
    from snnlab.errors import StoreError
    from snnlab.session.build_store import store_folder

    if not store_path(dataset, store_folder(settings)).exists():
        raise StoreError("data", "these recordings are not packed yet", "snnlab data prepare packs them")
    store = _store(settings, dataset)
    store.verify()
    print(f"{_size_text(store)}: every value is as it was packed")


def where(experiment: Experiment, settings: DataSettings, dataset: Dataset, figure: str | None) -> None:
    """Print where the packed copy is, and those of before."""
    from snnlab.data.events.packing import store_path
    from snnlab.session.build_store import store_folder

    folder = store_folder(settings)
    path = store_path(dataset, folder)
    print(_size_text(_store(settings, dataset)) if path.exists() else f"{path}: not packed yet")
    _say_earlier(dataset, folder)


def clean(experiment: Experiment, settings: DataSettings, dataset: Dataset, figure: str | None) -> None:
    """Delete the packed copy."""
    from snnlab.data.events.packing import remove, store_path
    from snnlab.session.build_store import store_folder

    folder = store_folder(settings)
    freed = _megabytes(store_path(dataset, folder))
    path = remove(dataset, folder)
    print("nothing to delete: these recordings are not packed" if path is None else f"{path} deleted, {freed} free")
    _say_earlier(dataset, folder)


def clean_all(experiment: Experiment, settings: DataSettings) -> None:
    """Delete all packed copies of a dataset's recordings, which need not be there any more."""
    from snnlab.data.data_settings import DATASETS
    from snnlab.data.events.packing import copies, copies_of, remove_copies
    from snnlab.session.build_store import store_folder

    factory = DATASETS.get(experiment.data["type"], "data")
    lie_in = Path(settings.root or "data").expanduser() / getattr(factory, "folder_name", "")
    folder, label = store_folder(settings), str(getattr(factory, "label", experiment.data["type"]))
    found = copies_of(folder, label, str(lie_in.resolve()))
    for copy in remove_copies(found):
        print(f"{copy.path} deleted, {copy.size / 1e6:,.1f} MB free")
    if not found:
        print("nothing to delete: these recordings are not packed")
    if others := copies(folder):
        size = sum(copy.size for copy in others) / 1e6
        print(f"packed copies of other recordings that stay: {len(others)}, {size:,.1f} MB in {folder}")


def _say_earlier(dataset: Dataset, folder: Path) -> None:
    from snnlab.session.build_store import earlier_copies

    for copy in earlier_copies(dataset, folder):
        print(f"{copy.path}: of before, {copy.size / 1e6:,.1f} MB; snnlab data clean --all deletes it")


ACTIONS: dict[str, Callable[[Experiment, DataSettings, Dataset, str | None], None]] = {
    "prepare": prepare,
    "inspect": inspect,
    "verify": verify,
    "where": where,
    "clean": clean,
}


def _split(settings: DataSettings, store: Store, dataset: Dataset) -> Split:
    """Return the split, or where there can be none say why, and hold nothing out."""
    from snnlab.data.splits import make_split
    from snnlab.errors import DataError
    from snnlab.session.build_store import split

    try:
        return split(settings, store, dataset)
    except DataError as error:
        say(f"these recordings have no split: {error}")
        return make_split(store.targets, store.split, 0.0, settings.split_seed)


def _store(settings: DataSettings, dataset: Dataset) -> Store:
    from snnlab.session.build_store import open_store

    return open_store(dataset, settings)


def _draw(store: Store, settings: DataSettings, dataset: Dataset, names: list[str], target: Path) -> None:
    """Draw the classes, if there are any, and below them a recording over time."""
    import numpy as np
    from matplotlib.image import imsave

    from snnlab.runs.plots.event_plots import draw_classes, draw_event_times
    from snnlab.runs.plots.style import default_style, render

    some = int(np.argmax(store.sizes > 0))
    name = f"{names[store.targets[some]]}, recording {some}" if names else f"recording {some}"
    with default_style():
        figures = [draw_classes(store, range(len(names)), names, settings.duration_ms)] if names else []
        figures.append(draw_event_times(store[some], settings.size, settings.duration_ms, name))
        pixels = np.vstack([render(figure) for figure in figures])
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        imsave(target, pixels)
    except OSError as error:
        raise ConfigError("--figure", f"{target} cannot be written ({error.strerror or error})") from error


def _size_text(store: Store) -> str:
    return f"{len(store):,} recordings, {store.num_events:,} events, {_megabytes(store.path)} in {store.path}"


def _megabytes(path: Path) -> str:
    from snnlab.data.events.packing import size_of

    return f"{size_of(path) / 1e6:,.1f} MB"
