"""The datasets; importing this package registers them."""

from snnlab.data.sources import (
    bursts as bursts,
    folder as folder,
    mnist as mnist,
    oscillators as oscillators,
    recordings as recordings,
    simulated as simulated,
    spike_files as spike_files,
    yin_yang as yin_yang,
)
