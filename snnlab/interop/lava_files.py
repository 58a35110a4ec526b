"""Reads Lava's network files (.net, HDF5, written by lava-dl's `export_hdf5`) as networks of `loihi2` neurons.

What is read is what lava-dl's netx runs: the layers input, dense, dense_rec, conv and flatten, neurons LOIHI and CUBA,
weights and biases that are whole numbers. A bias is added to the membrane, shifted left by 6 bits. An input layer has
no weights: its membrane gets 2 * weight * x - weight + bias in each step. Anything else is refused by its layer.

Axes: C channels, Y rows, X columns, F features.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from snnlab.interop.nir_import import Layer, ReadNetwork
from snnlab.interop.nir_tree import NIRError, read_tree, text_of
from snnlab.interop.nir_trial import require_readable
from snnlab.nn.neurons.loihi2 import DECAY_SCALE, MOST_THRESHOLD
from snnlab.printable import printable

SUFFIX = ".net"
GROUP = "layer"
READ = ("input", "dense", "dense_rec", "conv", "flatten")
NEURONS_READ = ("LOIHI", "CUBA")
# Other values of these would change what netx ignores; the lists of all fields, and those that are not needed.
_NEURON = {"type", "iDecay", "vDecay", "vThMant"}
_UNUSED = {"theta", "tauRho", "scaleRho"}
_ONLY = {"refDelay": 1, "wgtExp": 0, "gradedSpike": 0, "messageBits": 0}
_LAYER = {
    "input": {"shape", "neuron", "weight", "bias"},
    "dense": {"shape", "neuron", "weight", "bias", "delay", "inFeatures", "outFeatures"},
    "dense_rec": {"shape", "neuron", "weight", "weight_rec", "bias", "inFeatures", "outFeatures"},
    "conv": {
        *("shape", "neuron", "weight", "bias", "inChannels", "outChannels"),
        *("kernelSize", "stride", "padding", "dilation", "groups"),
    },
    "flatten": {"shape"},
}
# Values of a layer at one step, bits of a bias, and steps of a delay, at most.
_MOST_VALUES, _MOST_BIAS, _MOST_DELAY = 2**24, 2**15, 62
# A weighted sum below this is exact in single precision.
_MOST_SUM = 2**24


def read_lava(path: Path) -> tuple[ReadNetwork, str]:
    """Return the network of a file of Lava, and the file's hash.

    Raises:
        NIRError: if the file is missing, truncated, too large or no such network; its place is the file, or the layer.
    """
    if not path.is_file():
        raise NIRError(path, "is no file" if path.exists() else "is not there")
    require_readable(path, group=GROUP)
    tree, _ = read_tree(path, group=GROUP)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return _LavaReader(path, tree).read(), sha256


class _LavaReader:
    """Reads the layers one after the other.

    Attributes:
        shape: Shape of the values between two layers, `[C, Y, X]` or `[F]`; empty before the first.
    """

    def __init__(self, path: Path, tree: Mapping[str, Any]) -> None:
        self.path, self.tree, self.at = path, tree, ""
        self.shape: tuple[int, ...] = ()
        self.in_shape: tuple[int, ...] = ()
        self.layers: dict[str, Layer] = {}
        self.weights: dict[str, np.ndarray] = {}
        self.names: dict[str, str] = {}
        self.said = [
            "steps: a spike reaches the next layer in its own step; in Lava it takes a step for each layer, and"
            " netx resets the layers one after the other"
        ]

    def read(self) -> ReadNetwork:
        numbers = sorted((name for name in self.tree if name.isdecimal()), key=int)
        if not numbers or numbers != [str(at) for at in range(len(self.tree))]:
            raise NIRError(
                self.path, f"its layers are {printable(', '.join(sorted(self.tree))) or 'none'}, not 0, 1, ..."
            )
        for at in numbers:
            self.at = at
            layer = self.tree[at]
            if not isinstance(layer, Mapping):
                raise self.error("is an array, no layer")
            kind = self.text(layer, "type")
            if kind not in READ:
                raise self.error(f"is a {kind}, which is not read", known=READ)
            self.require_known(layer, {"type", *_LAYER[kind]}, f"a {kind}")
            if not self.layers and kind != "input":
                self.begin(layer, kind)
            getattr(self, f"_{kind}")(layer)
        if not self.weights:
            raise NIRError(self.path, "has no layer with weights")
        return ReadNetwork(self.layers, self.weights, self.in_shape, None, assumptions=self.said, names=self.names)

    # -- Layers -------------------------------------------------------------------------------------------------------

    def begin(self, layer: Mapping[str, Any], kind: str) -> None:
        """Take the shape of the input from the first layer, where no input layer states it."""
        if self.shape:
            return
        if not kind.startswith("dense"):
            raise self.error("is the first layer, so that the size of the input is not known: an input layer states it")
        features = self.matrix(layer, "weight", self.outputs(layer)).shape[1]
        self.set_shape((features,))
        self.in_shape = self.shape

    def _input(self, layer: Mapping[str, Any]) -> None:
        if self.at != "0":
            raise self.error("is an input layer, which must be the first")
        self.set_shape(tuple(self.sizes(layer, "shape", 1)))
        if len(self.shape) not in (1, 3):
            raise self.error(f"shape is {list(self.shape)}, neither features nor channels, rows and columns")
        self.in_shape = self.shape
        if "neuron" not in layer:
            return
        weight, bias = (
            self.number(layer, name, -_MOST_BIAS, _MOST_BIAS, default)
            for name, default in (("weight", 64), ("bias", 0))
        )
        settings = {"drives": "membrane", "input_gain": float(2 * weight)}
        self.neuron("input", layer, np.full(self.shape[0], bias - weight), settings)
        self.said.append(
            f"input: {2 * weight} x {bias - weight:+d}, towards zero, is added to the membrane in each step"
        )

    def _flatten(self, layer: Mapping[str, Any]) -> None:
        if math.prod(self.sizes(layer, "shape", 1)) != math.prod(self.shape):
            raise self.error(f"shape is {self.sizes(layer, 'shape', 1)}, but its input is {list(self.shape)}")
        if len(self.shape) > 1:
            self.layers[f"flatten{self.at}"] = {"type": "flatten"}
            self.set_shape((math.prod(self.shape),))

    def _dense(self, layer: Mapping[str, Any]) -> None:
        outputs = self.outputs(layer)
        weight = self.matrix(layer, "weight", outputs)
        delays = self.delays(layer, weight.shape)
        name, settings = f"fc{self.at}", {"type": "linear", "out_features": outputs, "bias": False}
        if delays is not None and delays.max():
            longest = int(delays.max())
            settings |= {"delay": {"max": f"{longest} steps"}}
            self.weights[f"{name}.delays.fraction"] = (delays / longest)[..., None].astype(np.float32)
            weight = weight[..., None]
        self.layers[name], self.weights[f"{name}.weight"] = settings, weight
        self.set_shape((outputs,))
        self.after(name, layer, outputs)

    def _dense_rec(self, layer: Mapping[str, Any]) -> None:
        outputs = self.outputs(layer)
        if "neuron" not in layer:
            raise self.error("has a feedback and no neuron")
        name = f"fc{self.at}"
        self.layers[name] = {"type": "linear", "out_features": outputs, "bias": False}
        self.weights[f"{name}.weight"] = self.matrix(layer, "weight", outputs)
        feedback = self.matrix(layer, "weight_rec", outputs, inputs=outputs)
        self.set_shape((outputs,))
        neuron = self.neuron(f"lif{self.at}", layer, self.biases(layer, outputs), {"recurrent": True})
        self.weights[f"{neuron}.feedback.weight"] = feedback
        if f"{neuron}.bias" in self.weights:
            self.weights[f"{neuron}.neuron.bias"] = self.weights.pop(f"{neuron}.bias")

    def _conv(self, layer: Mapping[str, Any]) -> None:
        if len(self.shape) != 3:
            raise self.error(f"is a convolution, but its input is {list(self.shape)}")
        groups = self.number(layer, "groups", 1, self.shape[0], 1)
        weight = self.array(layer, "weight")
        weight = weight[..., 0] if weight.ndim == 5 and weight.shape[-1] == 1 else weight
        if weight.ndim != 4 or weight.size == 0 or self.shape[0] != weight.shape[1] * groups or len(weight) % groups:
            raise self.error(f"weight is {list(weight.shape)} for {groups} groups of {self.shape[0]} channels")
        self.require_weights("weight", weight, even=True)
        pairs = {
            name: self.pair(layer, name, least) for name, least in (("stride", 1), ("padding", 0), ("dilation", 1))
        }
        (stride, padding, dilation), kernel = pairs.values(), weight.shape[2:]
        self.set_shape(
            (
                len(weight),
                *(
                    (size + 2 * p - d * (k - 1) - 1) // s + 1
                    for size, s, p, d, k in zip(self.shape[1:], stride, padding, dilation, kernel, strict=True)
                ),
            )
        )
        if (said := self.sizes(layer, "shape", 1)) != list(self.shape):
            raise self.error(f"shape is {said}, but its weights give {list(self.shape)}")
        name = f"conv{self.at}"
        sizes = {"kernel_size": list(kernel), **{key: list(value) for key, value in pairs.items()}}
        self.layers[name] = {"type": "conv2d", "out_channels": len(weight), **sizes, "groups": groups, "bias": False}
        self.weights[f"{name}.weight"] = weight
        self.after(name, layer, len(weight))

    def after(self, name: str, layer: Mapping[str, Any], outputs: int) -> None:
        """Add the neurons of a layer; the last one may have none."""
        self.names[f"layer/{self.at}"] = name
        if "neuron" in layer:
            self.neuron(f"lif{self.at}", layer, self.biases(layer, outputs), {})
            return
        if int(self.at) + 1 < len(self.tree) or "bias" in layer:
            raise self.error("has no neuron, and is not a last layer without a bias")
        self.said.append(f"{name}: the last layer has no neuron, and its output is its weighted sum")

    def neuron(self, name: str, layer: Mapping[str, Any], bias: np.ndarray | None, more: Layer) -> str:
        """Add a layer's neurons, and return their name."""
        neuron = layer["neuron"]
        if not isinstance(neuron, Mapping):
            raise self.error("neuron is an array")
        kind = self.text(neuron, "type")
        if kind not in NEURONS_READ:
            raise self.error(f"has neurons of the type {kind}, which are not read", known=NEURONS_READ)
        self.require_known(neuron, {*_NEURON, *_UNUSED, *_ONLY}, "its neuron")
        for field, only in _ONLY.items():
            if (given := self.number(neuron, field, -(2**31), 2**31, only)) != only:
                raise self.error(f"neuron.{field} is {given}; netx has only {only}")
        lost_i, lost_v = (self.number(neuron, key, low, DECAY_SCALE) for key, low in (("iDecay", 1), ("vDecay", 0)))
        self.layers[name] = {
            "type": "loihi2",
            "alpha": 1.0 - lost_i / DECAY_SCALE,
            "beta": 1.0 - lost_v / DECAY_SCALE,
            "v_threshold": float(self.number(neuron, "vThMant", 1, MOST_THRESHOLD)),
            "scale": 1,
            **({} if bias is None else {"channel_bias": True}),
            **more,
        }
        if bias is not None:
            self.weights[f"{name}.bias"] = bias.reshape(-1, *[1] * (len(self.shape) - 1)).astype(np.float32)
        self.names.setdefault(f"layer/{self.at}", name)
        return name

    # -- Values -------------------------------------------------------------------------------------------------------

    def error(self, problem: str, *, known: tuple[str, ...] = ()) -> NIRError:
        return NIRError(f"{self.path}: layer.{self.at}", problem, "", known)

    def require_known(self, group: Mapping[str, Any], known: set[str], what: str) -> None:
        unknown = sorted(set(group) - known)
        if unknown:
            raise self.error(f"has '{printable(unknown[0])}', which {what} does not have here")

    def text(self, group: Mapping[str, Any], name: str) -> str:
        """Return a text, alone or the only one of an array."""
        value = np.asarray(group.get(name, ()))
        found = value.reshape(-1)
        if isinstance(group.get(name), Mapping) or found.size != 1 or found.dtype.kind not in "SUO":
            raise self.error(f"has no {name}, or one that is no text")
        return text_of(found[0])

    def array(self, group: Mapping[str, Any], name: str, default: Any = None) -> np.ndarray:
        """Return whole numbers, float32."""
        value = group.get(name, default)
        if value is None:
            raise self.error(f"has no {name}")
        if isinstance(value, Mapping):
            raise self.error(f"{name} is a group, as complex weights are")
        found = np.asarray(value)
        if found.dtype.kind not in "biuf":
            raise self.error(f"{name} is no array of numbers")
        found = found.astype(np.float64)
        if not np.isfinite(found).all() or not (found == np.trunc(found)).all():
            raise self.error(f"{name} has values that are no whole numbers")
        if np.abs(found).max(initial=0) > 2**31:
            raise self.error(f"{name} has the value {np.abs(found).max():g}")
        return found.astype(np.float32) if name.startswith("weight") else found

    def number(self, group: Mapping[str, Any], name: str, low: int, high: int, default: int | None = None) -> int:
        found = self.array(group, name, default)
        if found.size != 1:
            raise self.error(f"{name} has {found.size} values in place of one")
        value = int(found.reshape(()))
        if not low <= value <= high:
            raise self.error(f"{name} must be from {low} to {high}, got {value}")
        return value

    def sizes(self, group: Mapping[str, Any], name: str, least: int) -> list[int]:
        found = self.array(group, name)
        if not 1 <= found.size <= 3 or found.min() < least:
            raise self.error(f"{name} must be 1 to 3 whole numbers of at least {least}")
        return [int(size) for size in found.reshape(-1)]

    def pair(self, group: Mapping[str, Any], name: str, least: int) -> tuple[int, int]:
        """Return a number for rows and columns."""
        found = self.sizes(group, name, least)
        if len(found) > 2:
            raise self.error(f"{name} has {len(found)} numbers; 2 are for rows and columns")
        return found[0], found[-1]

    def set_shape(self, shape: tuple[int, ...]) -> None:
        if min(shape) < 1 or math.prod(shape) > _MOST_VALUES:
            raise self.error(f"would have {list(shape)} values at a step; from 1 to {_MOST_VALUES:,} are read")
        self.shape = shape

    def outputs(self, layer: Mapping[str, Any]) -> int:
        """Return the number of neurons of a dense layer."""
        return math.prod(self.sizes(layer, "shape", 1))

    def matrix(self, layer: Mapping[str, Any], name: str, outputs: int, inputs: int | None = None) -> np.ndarray:
        """Return the weights of a dense layer, `[F', F]`."""
        found = self.array(layer, name)
        if found.ndim == 1 and found.size % outputs == 0:
            found = found.reshape(outputs, -1)
        inputs = inputs or (math.prod(self.shape) if self.shape else found.shape[-1])
        if len(self.shape) > 1 and name == "weight":
            raise self.error(f"is dense, but its input is {list(self.shape)}: a flatten layer is missing")
        if found.shape != (outputs, inputs) or not found.size:
            raise self.error(f"{name} is {list(found.shape)}, not [{outputs}, {inputs}]")
        self.require_weights(name, found, even=False)
        return found

    def require_weights(self, name: str, weight: np.ndarray, *, even: bool) -> None:
        """Refuse weights that Lava changes: Loihi has 8 bits, the lowest of which is 2 where both signs occur."""
        low, high = int(weight.min()), int(weight.max())
        mixed = low < 0 < high
        if low < (-256 if high > 0 else -255) or high > (254 if mixed else 255):
            raise self.error(f"{name} is from {low} to {high}; Loihi's weights are from -256 to 254, or to 255 alone")
        if mixed and (even or low < -128 or high > 127) and (weight % 2 != 0).any():
            raise self.error(f"{name} has odd values, which Lava rounds where weights of both signs are so large")
        if np.abs(weight).reshape(len(weight), -1).sum(1, dtype=np.float64).max() >= _MOST_SUM:
            raise self.error(f"{name} may add up to more than {_MOST_SUM:,} in a step")

    def biases(self, layer: Mapping[str, Any], outputs: int) -> np.ndarray | None:
        if "bias" not in layer:
            return None
        found = self.array(layer, "bias")
        if found.size != outputs:
            raise self.error(f"bias has {found.size} values for {outputs} channels")
        if np.abs(found).max() > _MOST_BIAS:
            raise self.error(f"bias has the value {np.abs(found).max():g}; {_MOST_BIAS} at most is read")
        return found.reshape(-1)

    def delays(self, layer: Mapping[str, Any], shape: tuple[int, ...]) -> np.ndarray | None:
        """Return the delay of each weight, steps, `[F', F]`: one for all, for an output, an input, or for each."""
        if "delay" not in layer:
            return None
        found = self.array(layer, "delay")
        outputs, inputs = shape
        if found.size and (found.min() < 0 or found.max() > _MOST_DELAY):
            raise self.error(f"delay must be from 0 to {_MOST_DELAY} steps")
        as_given = {outputs: (outputs, 1), inputs: (1, inputs), 1: (1, 1)}
        if found.shape != shape and (found.ndim > 1 or found.size not in as_given):
            raise self.error(f"delay is {list(found.shape)} for weights {list(shape)}")
        of_outputs = found.size == outputs
        place = shape if found.shape == shape else (outputs, 1) if of_outputs else as_given[found.size]
        return np.broadcast_to(found.reshape(place), shape)
