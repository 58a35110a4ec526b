"""The pictures of recordings that a training drew for TensorBoard."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

_WORDS = {"events": "events", "events_over_time": "events over time", "readout": "readout"}


def last_pictures(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the newest picture of each kind, with what it shows; nothing where none was drawn.

    Args:
        folder: Of TensorBoard's files.

    Shape:
        Pictures are PNG files.
    """
    if not folder.is_dir():
        return
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    said = logging.getLogger("tensorboard")
    before = said.level
    said.setLevel(logging.ERROR)  # that a resumed run was cut back is no news
    try:
        events = EventAccumulator(str(folder), size_guidance={"images": 1, "scalars": 1, "histograms": 1, "tensors": 1})
        events.Reload()
    finally:
        said.setLevel(before)
    for tag in events.Tags()["images"]:
        yield _words(tag), events.Images(tag)[-1].encoded_image_string


def _words(tag: str) -> str:
    first, *rest = tag.removeprefix("pictures/").split("/")
    what = " of ".join([_WORDS.get(rest[0], rest[0]), *rest[1:]]) if rest else ""
    return f"{first.replace('_', ' ')}: {what}" if what else first
