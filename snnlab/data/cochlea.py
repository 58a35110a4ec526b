"""Spikes of sound: the inner ear of lauscher, which made the Heidelberg Digits and Speech Commands.

lauscher 1.0.1 steps through its hair and bushy cells in Python; here these two are compiled, and its basilar membrane
is asked for all channels at once, at the frequencies that the sound has. For the same random numbers the spikes are its
spikes, each one.

Axes: N samples, K frequencies of the sound, M = N // 2 + 1 samples of the model, C channels, F fibres of a channel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Any, cast

import numpy as np

from snnlab.compiled import compiled
from snnlab.data.wav_files import Sound
from snnlab.errors import DataError, MissingPackageError
from snnlab.spec.interval import NonNegative, between
from snnlab.spec.signatures import checks_arguments

# Root mean square of the amplitude, as in lauscher's chain, the one of the Heidelberg sets.
_LOUDNESS = 0.3
# Of the largest amplitude of the spectrum: what is below does not change a spike.
_NEGLIGIBLE = 1e-10
_SHORTEST_MS, _LONGEST_MS = 10, 30_000
# Numbers of a channel's frequencies that are in memory at a time, for some channels.
_AT_ONCE = 2**22


@checks_arguments
@dataclass(frozen=True)
class Cochlea:
    """Makes spikes of sound; the number of channels is that of the sensor's columns.

    Sound is resampled, its root mean square set to 0.3, and faded in and out over its whole length by a Hann window.
    Then come the travelling wave of the basilar membrane, from high to low frequencies, hair cells that release
    transmitter, and a bushy cell of 40 fibres for each channel. The fibres are random; the seed and the samples decide
    their random numbers, so that a recording always has the same spikes.

    Args:
        sample_rate: Samples per second, to which sound is resampled, Hz. The model's step is two samples; below 20 kHz
            its hair cells become unstable.
        seed: Seed of the fibres.

    Source: Cramer et al., The Heidelberg spiking data sets for the systematic evaluation of spiking neural networks,
        IEEE TNNLS 33, 2022; github.com/electronicvisions/lauscher.
    """

    sample_rate: Annotated[int, "Hz", between(20_000, 200_000)] = 48_000
    seed: NonNegative = 0

    def columns(self, sound: Sound, channels: int, name: str) -> dict[str, np.ndarray]:
        """Return the spikes of a sound as columns t (us) and x, `[N]` each, sorted by time.

        Args:
            sound: The sound.
            channels: Number of channels.
            name: Name of the recording in messages.

        Raises:
            DataError: if it is silent, too short or too long.
            MissingPackageError: if lauscher is not installed.
        """
        if find_spec("lauscher") is None:
            raise MissingPackageError(
                "data.cochlea", "the package lauscher is missing", "pip install 'snnlab-train[audio]'"
            )
        ms = 1000 * sound.samples.size / sound.rate
        if not _SHORTEST_MS <= ms <= _LONGEST_MS:
            raise DataError(name, f"is {ms:,.6g} ms long, and not {_SHORTEST_MS} to {_LONGEST_MS:,} ms", "cut it")
        with np.errstate(over="ignore", under="ignore"):
            power = np.mean(sound.samples**2)
        if not 0 < power < np.inf:
            raise DataError(name, "holds silence only" if power == 0 else "its samples are too large")
        # Of the samples in the file, which are the same on every machine.
        key = hashlib.blake2b(sound.samples.tobytes() + f"{sound.rate} {self.seed}".encode(), digest_size=16)
        # The fastest one: half of the time is the fibres'.
        random = np.random.Generator(np.random.SFC64(int.from_bytes(key.digest(), "little")))
        samples = resample(sound.samples, round(sound.samples.size * self.sample_rate / sound.rate))
        step, channel = spikes(samples, self.sample_rate, channels, random.random)
        t = np.rint(step * (1e6 / (self.sample_rate // 2))).astype(np.int64)
        return {"t": t, "x": channel.astype(np.int16)}


def resample(samples: np.ndarray, number: int) -> np.ndarray:
    """Return as many samples of the same time, by the spectrum: all frequencies that both can have are kept.

    Args:
        samples: The samples.
        number: Number of the new samples.

    Shape:
        samples: `[N]`; returns `[number]`.
    """
    spectrum, least = np.fft.rfft(samples), min(number, samples.size)
    kept = np.zeros(number // 2 + 1, np.complex128)
    kept[: least // 2 + 1] = spectrum[: least // 2 + 1]
    if (
        least % 2 == 0 and number != samples.size
    ):  # the highest frequency stands once in one spectrum, twice in the other
        kept[least // 2] *= 0.5 if number > samples.size else 2.0
    return np.fft.irfft(kept, number) * (number / samples.size)


def spikes(
    samples: np.ndarray, rate: int, channels: int, draw: Callable[[tuple[int, int]], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the step and the channel of each spike, sorted by step; a step takes 1 / (rate // 2) s.

    Args:
        samples: Amplitude.
        rate: Samples per second, Hz.
        channels: Number of channels.
        draw: Returns random numbers in [0, 1) of a shape; with `np.random.rand` or `RandomState(s).random_sample` the
            spikes are those of lauscher after `np.random.seed(s)`.

    Shape:
        samples: `[N]`; returns int64, one number a spike.
    """
    from lauscher import audiowaves, transformations  # pyright: ignore[reportMissingImports]

    # lauscher's annotations say lists, its code takes arrays.
    sound: Any = audiowaves.MonoAudioWave(cast("Any", samples), rate)
    for change in (transformations.RmsNormalizer(_LOUDNESS), transformations.HanningWindow()):
        sound = sound.transform(change)
    spectrum = np.fft.fft(sound.samples)[: samples.size // 2 + 1]
    membrane = transformations.BasilarMembrane(channels=channels)
    hair, bushy, steps = transformations.HairCell(), transformations.BushyCell(), spectrum.size
    amplitude = np.abs(spectrum)
    heard = int(np.flatnonzero(amplitude > _NEGLIGIBLE * amplitude.max())[-1]) + 1
    omega = 2 * np.pi * np.linspace(1, rate // 2, steps)[:heard]
    inputs = np.zeros((channels, steps))
    block = max(1, _AT_ONCE // steps)
    for first in range(0, channels, block):
        velocity = _velocity(membrane, membrane.ch[first : first + block], omega, spectrum[:heard], steps)
        for number, probability in enumerate(release(velocity, rate // 2, hair), first):
            count_fibres(
                draw((steps, bushy.n_convergence)), probability, bushy.tau_refrac * (rate // 2), inputs[number]
            )
    channel, step = np.nonzero(fire(inputs, rate // 2, bushy))
    order = np.argsort(step, kind="stable")
    return step[order], channel[order]


def _velocity(membrane: Any, places: np.ndarray, omega: np.ndarray, spectrum: np.ndarray, steps: int) -> np.ndarray:
    """Return the velocity of the membrane at some places, `[C, M]`.

    lauscher returns the real part of the inverse transform of its transfer function times a spectrum, over as many
    frequencies as there are steps. The imaginary part is that of the spectrum times -i; the transform of both, with
    zeros for the frequencies that the sound does not have, is the same sum with fewer terms.
    """
    both = np.stack([spectrum, -1j * spectrum])[:, None, :]
    real, imaginary = membrane.process_single_channel(places[:, None], omega, both)
    whole = np.zeros((len(places), steps), np.complex128)
    whole[:, : omega.size] = np.fft.fft(real + 1j * imaginary)
    return np.ascontiguousarray(np.fft.ifft(whole).real)


def release(velocity: np.ndarray, rate: int, cell: Any) -> np.ndarray:
    """Return the probability of a spike of a fibre at each step, from Meddis' model of the hair cell.

    Args:
        velocity: Velocity of the membrane.
        rate: Steps per second, Hz.
        cell: lauscher's HairCell, or the same parameters.

    Shape:
        velocity: `[C, M]`; returns `[C, M]`.

    Source: Meddis, Simulation of auditory-neural transduction: further studies, JASA 83, 1988.
    """
    found = np.empty_like(velocity)
    numbers = (cell.y, cell.g, cell.l, cell.r, cell.x, cell.a, cell.b, cell.h, cell.m)
    _release(velocity, float(rate), np.array(numbers, np.float64), found)
    return found


@compiled(nogil=True)
def _release(velocity: np.ndarray, rate: float, numbers: np.ndarray, found: np.ndarray) -> None:
    y, g, loss, r, x, a, b, h, m = numbers
    at_rest = g * a / (a + b)
    cleft_at_rest = m * y * at_rest / (loss * at_rest + y * (loss + r))
    y_m, y_step, g_step, x_step, r_step, out, h_step = (
        y * m / rate, y / rate, g / rate, x / rate, r / rate, (loss + r) / rate, h / rate
    )  # fmt: skip
    for channel in range(velocity.shape[0]):
        # Transmitter in the cleft, free in the cell, and on its way back.
        cleft = cleft_at_rest
        free = cleft * (loss + r) / at_rest
        returning = cleft * r / x
        for step in range(velocity.shape[1]):
            moved = velocity[channel, step] + a
            permeability = g_step * moved / (moved + b) if moved > 0.0 else 0.0
            made = y_m - y_step * free if free < m else 0.0
            released, back, ready = permeability * free, r_step * cleft, x_step * returning
            lost = out * cleft
            free = max(free + made - released + ready, 0.0)
            cleft = max(cleft + released - lost, 0.0)
            returning = max(returning + back - ready, 0.0)
            found[channel, step] = cleft * h_step


@compiled(nogil=True)
def count_fibres(drawn: np.ndarray, probability: np.ndarray, rest: float, counts: np.ndarray) -> None:
    """Write the number of spikes of a channel's fibres at each step; a fibre rests after a spike.

    Args:
        drawn: Random numbers in [0, 1).
        probability: Probability of a spike of a fibre that does not rest.
        rest: Shortest time between two spikes of a fibre, steps.
        counts: Output, the numbers of spikes.

    Shape:
        drawn: `[M, F]`; probability, counts: `[M]`.
    """
    last = np.full(drawn.shape[1], -rest)
    for step in range(drawn.shape[0]):
        count, limit = 0.0, probability[step]
        for fibre in range(drawn.shape[1]):
            if drawn[step, fibre] < limit and step - last[fibre] >= rest:
                count += 1.0
                last[fibre] = step
        counts[step] = count


def fire(inputs: np.ndarray, rate: int, cell: Any) -> np.ndarray:
    """Return the spikes of the bushy cells, LIF neurons with an exponential synapse and a rest after a spike.

    Args:
        inputs: Number of spikes that reach a cell at each step.
        rate: Steps per second, Hz.
        cell: lauscher's BushyCell, or the same parameters.

    Shape:
        inputs: `[C, M]`; returns bool `[C, M]`.
    """
    found = np.zeros(inputs.shape, np.bool_)
    numbers = (cell.tau_mem, cell.tau_syn, cell.tau_refrac, cell.weight)
    _fire(inputs, float(rate), np.array(numbers, np.float64), found)
    return found


@compiled(nogil=True)
def _fire(inputs: np.ndarray, rate: float, numbers: np.ndarray, found: np.ndarray) -> None:
    tau_mem, tau_syn, rest, weight = numbers
    dt = 1.0 / rate
    keep_v, keep_i, resting = np.exp(-dt / tau_mem), np.exp(-dt / tau_syn), rest * rate
    for channel in range(inputs.shape[0]):
        v, current, left = 0.0, 0.0, 0.0
        for step in range(inputs.shape[1]):
            awake = left <= 0.0
            if awake and v >= 1.0:  # it reached the threshold at the step before
                found[channel, step - 1] = True
                left, v, awake = resting, 0.0, False
            v = v * keep_v if awake else 0.0
            current = current * keep_i + inputs[channel, step]
            if awake:
                v = min(v + current * weight * dt, 1.0)
            left -= 1.0
