"""The datasets; importing this package registers them."""

from snnlab.data.sources import (
    ecg as ecg,
    folder as folder,
    mnist as mnist,
    recordings as recordings,
    saccades as saccades,
    simulated_classes as simulated_classes,
    spike_files as spike_files,
    yin_yang as yin_yang,
)
