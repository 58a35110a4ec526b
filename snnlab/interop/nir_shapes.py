"""The shapes of a NIR graph, from the input on, checked against the parameters of its nodes.

Axes: those of one sample at one step.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from snnlab.interop.nir_files import PER_NEURON
from snnlab.interop.nir_graphs import FlatGraph, Shape, kind_of, require_size
from snnlab.interop.nir_tree import NIRError

LINEAR = ("Affine", "Linear")


def infer_shapes(flat: FlatGraph, graph: Any, place: str) -> dict[str, Shape]:
    """Return the input shape of each node.

    Args:
        flat: The graph, without graphs in it.
        graph: The same as `nir.NIRGraph`, whose output may have a shape.
        place: The file, for errors.

    Raises:
        NIRError: naming the first node that does not fit its input.
    """
    return _Shapes(place).infer(flat, graph)


class _Shapes:
    def __init__(self, place: str) -> None:
        self.place = place
        self.shapes: dict[str, Shape] = {}

    def infer(self, flat: FlatGraph, graph: Any) -> dict[str, Shape]:
        """Find the input shape of each node, from the input on, and check that the shapes of edges fit."""
        out: dict[str, Shape] = {flat.input: flat.in_shape}
        targets: dict[str, list[str]] = {}
        for edge in flat.edges:
            targets.setdefault(edge.source, []).append(edge.target)
        waiting = [flat.input]
        while waiting:
            source = waiting.pop()
            for name in targets.get(source, ()):
                if name == flat.output:
                    continue
                known = self.shapes.get(name)
                if known is not None:
                    if known != out[source]:
                        raise self._error(
                            name, f"gets {list(out[source])} from {source}, and {list(known)} from another"
                        )
                    continue
                self.shapes[name] = out[source]
                out[name] = self._out_shape(name, flat.nodes[name], out[source])
                waiting.append(name)
        ends = {out[edge.source] for edge in flat.edges if edge.target == flat.output}
        if len(ends) > 1:
            raise self._error(flat.output, f"gets outputs of different shapes: {sorted(map(list, ends))}")
        said = graph.nodes[flat.output].output_type
        wanted = None if said is None or said.get("output") is None else tuple(int(n) for n in said["output"])
        (found,) = ends
        if wanted is not None and _long_axes(wanted) != _long_axes(found):  # some write an axis for samples or time
            raise self._error(flat.output, f"has the shape {list(wanted)}, but gets {list(found)}")
        return self.shapes

    def _out_shape(self, name: str, node: Any, shape: Shape) -> Shape:
        """Return the output shape of a node for an input, checked against its parameters."""
        kind, found = kind_of(node), shape
        if kind in LINEAR:
            if node.weight.ndim != 2:
                raise self._error(
                    name,
                    f"its weight has {node.weight.ndim} axes, {list(node.weight.shape)}; NIR says y = W x for 2 alone",
                )
            if math.prod(shape) != shape[-1] or node.weight.shape[1] != shape[-1]:
                raise self._error(name, f"its weight {list(node.weight.shape)} does not fit its input {list(shape)}")
            found = (*shape[:-1], int(node.weight.shape[0]))
            if kind == "Affine" and np.shape(node.bias) != found[-1:]:
                raise self._error(name, f"its bias is {list(np.shape(node.bias))}, not {list(found[-1:])}")
        elif kind in ("Conv1d", "Conv2d"):
            found = self._convolution_shape(name, node, shape)
        elif kind in ("SumPool2d", "AvgPool2d"):
            if len(shape) != 3:
                raise self._error(name, f"a {kind} needs an input [C, H, W], gets {list(shape)}")
            sizes = (pair(getattr(node, key)) for key in ("kernel_size", "stride", "padding"))
            kernel, stride, padding = sizes
            found = (shape[0], *self._window_shape(name, shape[1:], kernel, stride, padding, (1, 1)))
        elif kind == "Flatten":
            start, end = flatten_axes(node, shape, f"{self.place}: {name}")
            found = (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
        else:
            for key, array in parameters(node).items():
                if not _fits(array.shape, shape):
                    raise self._error(name, f"{key} has the shape {list(array.shape)}, its input {list(shape)}")
        require_size(found, f"{self.place}: {name}")
        return found

    def _convolution_shape(self, name: str, node: Any, shape: Shape) -> Shape:
        dims = 1 if kind_of(node) == "Conv1d" else 2
        if node.weight.ndim != dims + 2:
            raise self._error(name, f"its weight has the shape {list(node.weight.shape)}")
        groups, channels = int(node.groups), int(node.weight.shape[1])
        if len(shape) != dims + 1 or groups < 1 or channels * groups != shape[0] or node.weight.shape[0] % groups:
            what = f"its weight {list(node.weight.shape)} with {groups} groups"
            raise self._error(name, f"{what} does not fit its input {list(shape)}")
        said = None if node.input_shape is None else tuple(int(n) for n in np.atleast_1d(node.input_shape))
        if said is not None and said != shape[1:]:
            raise self._error(name, f"its input_shape is {list(said)}, but its input is {list(shape)}")
        bias = getattr(node, "bias", None)
        if bias is not None and np.shape(bias) != node.weight.shape[:1]:
            raise self._error(name, f"its bias is {list(np.shape(bias))}, not {list(node.weight.shape[:1])}")
        stride, dilation = sizes_per_axis(node.stride, dims), sizes_per_axis(node.dilation, dims)
        kernel = tuple(int(n) for n in node.weight.shape[2:])
        if isinstance(node.padding, str):
            if node.padding == "same" and set(stride) != {1}:
                raise self._error(name, f"padding: same needs a stride of 1, has {list(stride)}")
            size = shape[1:]
            if node.padding == "valid":
                size = self._window_shape(name, size, kernel, stride, (0,) * dims, dilation)
        else:
            size = self._window_shape(name, shape[1:], kernel, stride, sizes_per_axis(node.padding, dims), dilation)
        return (int(node.weight.shape[0]), *size)

    def _window_shape(
        self, name: str, size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
    ) -> Shape:
        if min(*stride, *dilation, *kernel) < 1 or min(padding) < 0:
            raise self._error(name, f"has kernel {kernel}, stride {stride}, padding {padding}, dilation {dilation}")
        rows = zip(size, kernel, stride, padding, dilation, strict=True)
        found = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in rows)
        if min(found) < 1:
            raise self._error(name, f"its window {list(kernel)} is larger than its input {list(size)}")
        return found

    def _error(self, name: str, message: str) -> NIRError:
        return NIRError(f"{self.place}: {name}", message)


def flatten_axes(node: Any, shape: Shape, place: str) -> tuple[int, int]:
    """Return the first and the last flattened axis."""
    start, end = (int(axis) + (len(shape) if axis < 0 else 0) for axis in (node.start_dim, node.end_dim))
    said = None if node.input_type is None else node.input_type.get("input")
    if said is not None and tuple(int(n) for n in said) != shape:
        raise NIRError(place, f"its input_type is {[int(n) for n in said]}, but its input is {list(shape)}")
    if not 0 <= start <= end < len(shape):
        raise NIRError(place, f"flattens axes {node.start_dim} to {node.end_dim} of {list(shape)}")
    return start, end


def parameters(node: Any) -> dict[str, np.ndarray]:
    """Return the arrays of a node that have a value for each neuron; v_reset is that of the file."""
    names = [name for name in PER_NEURON if name != "v_reset"]
    found = {name: getattr(node, name) for name in names if getattr(node, name, None) is not None}
    return {name: np.atleast_1d(np.asarray(value)) for name, value in found.items()}


def _fits(shape: Shape, wanted: Shape) -> bool:
    """Return whether an array of a shape broadcasts to another; a size of 1 is one value for all."""
    try:
        return np.broadcast_shapes(shape, wanted) == wanted
    except ValueError:
        return False


def _long_axes(shape: Shape) -> Shape:
    """Return a shape without its axes of size 1."""
    return tuple(size for size in shape if size != 1)


def sizes_per_axis(value: Any, dims: int) -> Shape:
    """Return sizes per axis."""
    flat = [int(n) for n in np.atleast_1d(value)]
    return tuple(flat * dims if len(flat) == 1 else flat)


def pair(value: Any) -> Shape:
    """Return the two sizes of a window over images."""
    return sizes_per_axis(value, 2)
