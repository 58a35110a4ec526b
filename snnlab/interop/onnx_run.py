"""Runs an ONNX model of a network in ONNX Runtime, and compares it with the plain dense loops of the network's form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isnan, nan
from typing import TYPE_CHECKING, Any

import numpy as np

from snnlab.interop.onnx_network import AFTER, HAS_ONNX, OnnxNetwork, as_onnx, past_name
from snnlab.nn.dense_loops import DenseLoops
from snnlab.nn.network_form import Neurons, Value

if TYPE_CHECKING or HAS_ONNX:
    import onnxruntime as ort

# Of the largest value of the layer.
TOLERANCE = 1e-5


def onnx_session(model: Any) -> Any:
    """Return a session of ONNX Runtime on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class OnnxSteps:
    """The model of one step in ONNX Runtime: one thread, and memory that is bound once.

    Args:
        network: The model of one step.
        batch: Number of samples.

    Attributes:
        frame: What the next step takes; it is written in place.
        output: What the last step gave.
        neurons: Outputs of the neurons in the last step by their name; empty if they are no outputs of the model.

    Shape:
        frame, output, neurons: `[B, C, H, W]`, or `[B, C]` where H and W are 1.
    """

    def __init__(self, network: OnnxNetwork, batch: int = 1) -> None:
        self._form, self._start = network.form, network.start
        self.session = onnx_session(network.model)
        self.frame = np.zeros((batch, *self.session.get_inputs()[0].shape[1:]), np.float32)
        shapes = {given.name: (batch, *given.shape[1:]) for given in self.session.get_outputs()}
        outputs = {name: np.zeros(shape, np.float32) for name, shape in shapes.items() if not name.endswith(AFTER)}
        self.output = outputs["output"]
        self.neurons = {name: outputs[f"{name}.y"] for name in self._form.neurons if f"{name}.y" in outputs}
        self._states = [
            {name: np.repeat(values[None], batch, 0) for name, values in self._start.items()} for _ in range(2)
        ]
        self._bindings = [self._binding(outputs, *self._states[::way]) for way in (1, -1)]
        self._turn = 0

    def _binding(self, outputs: dict[str, np.ndarray], before: dict[str, Any], after: dict[str, Any]) -> Any:
        bound = self.session.io_binding()
        for name, array in {"frame": self.frame, **before}.items():
            bound.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
        for name, array in {**outputs, **{name + AFTER: array for name, array in after.items()}}.items():
            bound.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))
        return bound

    def step(self) -> np.ndarray:
        """Run one step on `frame`; return the output, an array that the next step overwrites."""
        self.session.run_with_iobinding(self._bindings[self._turn])
        self._turn = 1 - self._turn
        return self.output

    def reset(self) -> None:
        """Return to the state before the first step."""
        self.continue_from(self._start)

    def continue_from(self, values: Mapping[str, np.ndarray]) -> None:
        """Let the next step begin with other states, by the names of the model's inputs."""
        for name, array in self._states[self._turn].items():
            array[:] = values[name]

    @property
    def spikes(self) -> dict[str, np.ndarray]:
        """The outputs of the neurons that spike."""
        return {name: y for name, y in self.neurons.items() if self._form.neurons[name].form.spiking}

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """What the next step begins with, by the names of the model's inputs; not to be changed."""
        return self._states[self._turn]

    def states(self) -> dict[str, dict[str, np.ndarray]]:
        """Return the states by the name of their neurons, and their own; not to be changed."""
        own = self._states[self._turn]
        return {name: {key: own[f"{name}.{key}"] for key in one.form.start} for name, one in self._form.neurons.items()}


@dataclass
class OnnxCertificate:
    """A comparison of steps in ONNX Runtime with those of plain dense loops, which begin with the same states.

    What a step computes after a spike that differs is not compared.

    Attributes:
        values, far: Numbers of outputs and states, and of those that are farther than `TOLERANCE` of the largest one
            of their layer so far.
        largest: The largest such distance.
        first: The first step and value that is too far.
        spikes: Number of spikes of the neurons that were compared.
        spikes_differ, spikes_far: Numbers of outputs of spiking neurons that differ, and of those whose membrane is
            farther than this from the threshold.
        farthest: The largest distance of such a membrane from its threshold; NaN if it is not known.
        skipped: Number of outputs and states that were not compared.
        scales: The largest value of each output and state so far, by its name.
    """

    recordings: int = 0
    steps: int = 0
    values: int = 0
    far: int = 0
    largest: float = 0.0
    first: tuple[int, str] | None = None
    spikes: int = 0
    spikes_differ: int = 0
    spikes_far: int = 0
    farthest: float = 0.0
    skipped: int = 0
    scales: dict[str, float] = field(default_factory=dict)

    @property
    def is_equal(self) -> bool:
        """Whether all that was compared is near enough."""
        return self.far + self.spikes_far == 0

    def compare(self, place: str, found: np.ndarray, expected: np.ndarray, keep: np.ndarray | None = None) -> None:
        """Compare values of the current step."""
        self.scales[place] = scale = max(self.scales.get(place, 0.0), _largest(expected))
        distance = _distance(found.reshape(-1), expected.reshape(-1), scale)
        distance = distance if keep is None else distance[keep]
        self.values, self.skipped = self.values + distance.size, self.skipped + found.size - distance.size
        far = int(np.count_nonzero(distance > TOLERANCE))
        self.far, self.largest = self.far + far, max(self.largest, float(distance.max(initial=0.0)))
        if far and self.first is None:
            self.first = self.steps, place


def certify_onnx(network: OnnxNetwork, recordings: Sequence[np.ndarray]) -> OnnxCertificate:
    """Compare a model of one step, with the outputs of its neurons, with plain dense loops.

    Args:
        network: The model.
        recordings: Frames of recordings.

    Shape:
        recordings: `[T, C, H, W]`.
    """
    found, steps = OnnxCertificate(len(recordings)), OnnxSteps(network)
    for frames in recordings:
        dense = DenseLoops(network.form)
        for frame in frames:
            steps.continue_from(_inputs(network, dense))
            steps.frame[:] = frame.reshape(steps.frame.shape)
            steps.step()
            y = dense.step(frame)
            differ = False
            states = steps.states()
            for name, one in network.form.neurons.items():
                if differ:
                    found.skipped += sum(values.size for values in states[name].values())
                    continue
                equal = _compare_spikes(found, dense, one, steps.neurons[name].reshape(one.shape))
                for key, values in states[name].items():
                    found.compare(f"{name}.{key}", values, dense.states[name][key], equal.reshape(-1))
                differ = not equal.all()
            if differ:
                found.skipped += y.size
            else:
                found.compare("the output", steps.output, y)
                for name, values in _past(network, dense).items():
                    found.compare(name, steps.inputs[name], values)
            found.steps += 1
    return found


def loop_differences(network: OnnxNetwork, steps: OnnxNetwork, recordings: Sequence[np.ndarray]) -> tuple[int, int]:
    """Return how many outputs and last states of all steps at once are far from those of single steps, of how many."""
    session, own = onnx_session(network.model), OnnxSteps(steps)
    names = [given.name for given in session.get_outputs()]
    far = total = 0
    for frames in recordings:
        own.reset()
        expected = []
        for frame in frames:
            own.frame[:] = frame.reshape(own.frame.shape)
            expected.append(own.step().copy())
        given = {name: values[None] for name, values in network.start.items()}
        given["frames"] = frames.reshape(len(frames), *own.frame.shape).astype(np.float32)
        found = dict(zip(names, session.run(names, given), strict=True))
        pairs = [
            (found["output"], np.stack(expected)),
            *((found[name + AFTER], own.inputs[name]) for name in own.inputs),
        ]
        for one, other in pairs:
            far += int(np.count_nonzero(_distance(one, other, _largest(other)) > TOLERANCE))
            total += other.size
    return far, total


def _inputs(network: OnnxNetwork, dense: DenseLoops) -> dict[str, np.ndarray]:
    """Return what the next step of plain dense loops begins with."""
    states = {f"{name}.{key}": as_onnx(part) for name, own in dense.states.items() for key, part in own.items()}
    return states | _past(network, dense)


def _past(network: OnnxNetwork, dense: DenseLoops) -> dict[str, np.ndarray]:
    return {
        past_name(network.form, Value(of, n)): as_onnx(part)
        for of, past in dense.past.items()
        for n, part in enumerate(past, 1)
    }


def _distance(found: np.ndarray, expected: np.ndarray, scale: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        distance = np.abs(found - expected) / np.float32(scale)
    distance[(found == expected) | (np.isnan(found) & np.isnan(expected))] = 0.0
    return np.nan_to_num(distance, nan=inf)


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def _compare_spikes(found: OnnxCertificate, dense: DenseLoops, one: Neurons, y: np.ndarray) -> np.ndarray:
    """Compare the outputs of spiking neurons, and return where they are equal."""
    expected = dense.outputs[one.name]
    if not one.form.spiking:
        found.compare(f"{one.name}.y", y, expected)
        return np.ones(expected.shape, np.bool_)
    equal = y == expected
    found.spikes += int(np.count_nonzero(expected))
    if not equal.all():
        found.spikes_differ += int(np.count_nonzero(~equal))
        if one.form.threshold is None:
            found.farthest = nan
            return equal
        x, before = dense.inputs[one.name], dense.before[one.name]
        v, threshold = (one.form.value(node, x, before) for node in one.form.threshold)
        distance = np.abs(v - threshold)[~equal]
        scale = max(_largest(v), _largest(threshold))
        found.spikes_far += int(np.count_nonzero(distance > TOLERANCE * scale))
        found.farthest = nan if isnan(found.farthest) else max(found.farthest, float(distance.max()))
    return equal
