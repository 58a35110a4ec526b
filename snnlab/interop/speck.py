"""Whether a network fits SynSense's Speck, by published limits; nothing about energy, latency or rounding.

A chip has nine cores, each a convolution, then integrate-and-fire neurons, then sum pooling.

Source: Sinabs 3.1.3, docs/speck/overview.md (limits of a layer, order, fan-out, at commit 13ad316), and of the package
sinabs.backend.dynapcnn: chips/dynapcnn.py, get_constraints (memory of the cores); dynapcnn_layer.py, memory_summary
(need of a layer); dynapcnn_layer_utils.py (pooling, linear layers as convolutions).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from torch import nn

from snnlab.errors import ConfigError, join_names
from snnlab.interop.nir_export import Shape, Sketch, sketch
from snnlab.nn.layers.pool import SumPool
from snnlab.nn.network import Network
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.nir_node import NIRNode

Ki = 1024
MAX_INPUT, MAX_OUTPUT, MAX_CHANNELS, MAX_KERNEL = 128, 64, 1024, 16
STRIDES, MAX_PADDING, POOLINGS, MAX_FAN_OUT = (1, 2, 4, 8), 7, (1, 2, 4), 2
# A message names no more layers than this.
MOST_LINES = 4


class Memory(NamedTuple):
    """Entries of a core's memories, or those that a layer needs."""

    kernel: int
    neurons: int
    bias: int

    def holds(self, need: Memory) -> bool:
        """Return whether a layer with this need fits."""
        return all(mine >= other for mine, other in zip(self, need, strict=True))

    def __str__(self) -> str:
        return f"kernel {self.kernel:,}, neurons {self.neurons:,}, bias {self.bias:,}"


CORES = tuple(
    Memory(kernel * Ki, neurons * Ki, Ki)
    for kernel, neurons in ((16, 64), (16, 64), (16, 64), (32, 32), (32, 32), (64, 16), (64, 16), (16, 16), (16, 16))
)


class Core(NamedTuple):
    """A convolution or linear layer, its neurons, and the pooling after them.

    Attributes:
        layer: Path of the convolution or the linear layer.
        need: Memory that it needs.
        core: Number of the core that holds it.
    """

    layer: str
    need: Memory
    core: int

    def __str__(self) -> str:
        has = CORES[self.core]
        of = ", ".join(f"{name} {n:,} of {getattr(has, name):,}" for name, n in self.need._asdict().items())
        return f"{self.layer} -> core {self.core}: {of}"


def fit(network: Network) -> list[Core]:
    """Return an assignment of a network's layers to the cores of Speck.

    Args:
        network: A network that `build_network` built, for one sample of shape `[P, H, W]`.
    """
    built = network.built_from
    if built is None:
        raise ConfigError("speck", "needs the network's settings", "build the network with snnlab.nn.build_network")
    drawn = sketch(network, tuple(built.in_shape), built.dt)
    modules = {node: network.get_submodule(path) for node, path in drawn.layer_of.items()}
    chip = _Chip(drawn, modules)
    needs = chip.needs()
    if chip.misfits:
        raise _misfit_error([f"{join_names(layers)}: {text}" for text, layers in chip.misfits.items()])
    cores = assign(list(needs.values()))
    if cores is None:
        hopeless = [f"{name} needs {need}" for name, need in needs.items() if not any(c.holds(need) for c in CORES)]
        raise _misfit_error(hopeless or [_crowd(needs)])
    return [Core(name, need, core) for (name, need), core in zip(needs.items(), cores, strict=True)]


def assign(needs: Sequence[Memory], cores: Sequence[Memory] = CORES) -> list[int] | None:
    """Return a different core for each layer, None if there are too few: a matching by augmenting paths."""
    layer_of: dict[int, int] = {}

    def assign_layer(layer: int, tried: set[int]) -> bool:
        for number, core in enumerate(cores):
            if number in tried or not core.holds(needs[layer]):
                continue
            tried.add(number)
            if number not in layer_of or assign_layer(layer_of[number], tried):
                layer_of[number] = layer
                return True
        return False

    if not all(assign_layer(layer, set()) for layer in range(len(needs))):
        return None
    found = {layer: core for core, layer in layer_of.items()}
    return [found[layer] for layer in range(len(needs))]


def _crowd(needs: Mapping[str, Memory]) -> str:
    """Return a smallest group of layers, by the cores that hold them, that has too few cores."""
    options = {name: frozenset(n for n, core in enumerate(CORES) if core.holds(need)) for name, need in needs.items()}
    for group in sorted({*options.values(), frozenset(range(len(CORES)))}, key=len):
        names = [name for name, cores in options.items() if cores <= group]
        if len(names) > len(group):
            return f"{join_names(names)}: {len(names)} layers, but {len(group)} cores can hold them"
    return f"{len(needs)} layers have no assignment to {len(CORES)} cores"


def _misfit_error(found: Sequence[str]) -> ConfigError:
    shown = list(found) if len(found) < MOST_LINES else [*found[: MOST_LINES - 2], f"and {len(found) - 2} more"]
    return ConfigError("speck", "\n  ".join(["the network does not fit", *shown]))


class _Chip:
    """Checks the layers of a network one after another.

    Attributes:
        misfits: What does not fit, each with the layers concerned.
    """

    def __init__(self, drawn: Sketch, modules: Mapping[str, nn.Module]) -> None:
        self.drawn, self.modules = drawn, modules
        self.misfits: dict[str, list[str]] = {}

    def needs(self) -> dict[str, Memory]:
        """Return the memory that each convolution or linear layer needs, in the order of the network."""
        for node, module in self.modules.items():
            if not (_is_chip_neuron(module) or isinstance(module, _LAYERS)):
                self._add_problem(node, _layer_text(module))
        found: dict[str, Memory] = {}
        for node, module in self.modules.items():
            if isinstance(module, nn.Conv2d | nn.Linear):
                found[self.drawn.layer_of[node]] = self._core_memory(node, module)
            elif _is_chip_neuron(module):
                self._neurons(node, module)
            elif isinstance(module, SumPool | nn.AvgPool2d):
                self._pooling(node, module)
        return found

    def _add_problem(self, node: str, text: str) -> None:
        layers = self.misfits.setdefault(text, [])
        if self.drawn.layer_of[node] not in layers:  # a recurrent layer has two nodes
            layers.append(self.drawn.layer_of[node])

    def _after(self, node: str) -> list[str]:
        """Return the nodes after one, a flatten is none."""
        found = [target for source, target in self.drawn.edges if source == node]
        return [end for each in found for end in (self._after(each) if self._is(each, nn.Flatten) else [each])]

    def _sources_of(self, node: str) -> list[str]:
        found = [source for source, target in self.drawn.edges if target == node]
        return [begin for each in found for begin in (self._sources_of(each) if self._is(each, nn.Flatten) else [each])]

    def _is(self, node: str, kinds: Any) -> bool:
        return isinstance(self.modules.get(node), kinds)

    def _core_memory(self, node: str, module: nn.Conv2d | nn.Linear) -> Memory:
        after = self._after(node)
        if not after or not all(self._is(each, Neuron) for each in after):  # other neurons are named by themselves
            self._add_problem(node, "no integrate-and-fire neurons (type: iaf) follow it")
        if isinstance(module, nn.Linear):
            in_shape = self._map_before(node)
            size = in_shape[1] * in_shape[2]
            out_shape, kernel = (module.out_features, 1, 1), (in_shape[1], in_shape[2])
            if kernel[0] != kernel[1]:
                self._add_problem(node, f"reads a map of {kernel[0]}x{kernel[1]}, its kernel must be square")
        else:
            in_shape = self.drawn.in_shapes[node]
            out_shape, kernel = _output_shape(module, in_shape), (module.kernel_size[0], module.kernel_size[1])
            size = kernel[0] * kernel[1]
            self._convolution(node, module)
        if max(kernel) > MAX_KERNEL:
            self._add_problem(node, f"kernel {kernel[0]}x{kernel[1]}, at most {MAX_KERNEL}x{MAX_KERNEL}")
        if max(in_shape[1:]) > MAX_INPUT:
            self._add_problem(node, f"input of {in_shape[1]}x{in_shape[2]}, at most {MAX_INPUT}x{MAX_INPUT}")
        if max(out_shape[1:]) > MAX_OUTPUT:
            self._add_problem(node, f"output of {out_shape[1]}x{out_shape[2]}, at most {MAX_OUTPUT}x{MAX_OUTPUT}")
        for name, channels in (("input", in_shape[0]), ("output", out_shape[0])):
            if channels > MAX_CHANNELS:
                self._add_problem(node, f"{channels:,} {name} channels, at most {MAX_CHANNELS:,}")
        bits = [_bits(n) for n in out_shape]
        return Memory(
            in_shape[0] << (_bits(size) + bits[0]),
            out_shape[0] << (bits[1] + bits[2]),
            0 if module.bias is None else out_shape[0],
        )

    def _map_before(self, node: str) -> Shape:
        """Return the shape [C, H, W] of what a linear layer reads, before it was flattened."""
        shape = self.drawn.in_shapes[node]
        for source, target in self.drawn.edges:
            if target == node and self._is(source, nn.Flatten):
                shape = self.drawn.in_shapes[source]
        return shape if len(shape) == 3 else (shape[0], 1, 1)

    def _convolution(self, node: str, module: nn.Conv2d) -> None:
        kernel, padding = module.kernel_size, module.padding
        if kernel[0] != kernel[1]:
            self._add_problem(node, f"kernel {kernel[0]}x{kernel[1]} is not square")
        if any(step not in STRIDES for step in module.stride):
            self._add_problem(node, f"stride {_sizes_text(module.stride)}, must be {join_names(map(str, STRIDES))}")
        if padding == "same":
            padding = tuple((k - 1) // 2 for k in kernel)
        if not isinstance(padding, str) and max(padding) > MAX_PADDING:
            self._add_problem(node, f"padding {_sizes_text(padding)}, at most {MAX_PADDING}")
        if max(module.dilation) > 1:
            self._add_problem(node, f"dilation {_sizes_text(module.dilation)}, must be 1")
        if module.groups > 1:
            self._add_problem(node, f"groups {module.groups}, must be 1")

    def _neurons(self, node: str, neuron: Neuron) -> None:
        reset = neuron.info().reset
        if reset is not None and (reset.kind == "none" or (reset.kind == "value" and float(reset.value) != 0)):
            self._add_problem(node, f"reset {reset.kind}, must be subtract, or value with v_reset 0")
        if reset is not None and reset.delayed:
            self._add_problem(node, "reset_delay, must be false")
        if not all(self._is(each, nn.Conv2d | nn.Linear) for each in self._sources_of(node)):
            self._add_problem(node, "the order is convolution, neurons, pooling")
        targets = self._targets(node)
        if len(targets) > MAX_FAN_OUT:
            self._add_problem(node, f"leads to {len(targets)} layers, at most {MAX_FAN_OUT}")
        for target, pooling in targets:
            if pooling not in POOLINGS:
                self._add_problem(node, f"pooling {pooling}x{pooling} before {target}, must be 1, 2 or 4")

    def _targets(self, node: str, pooling: int = 1) -> list[tuple[str, int]]:
        """Return the layers after neurons, each with the pooling between them."""
        found: list[tuple[str, int]] = []
        for each in self._after(node):
            module = self.modules.get(each)
            if isinstance(module, SumPool | nn.AvgPool2d):
                found += self._targets(each, pooling * _pair(module.kernel_size)[0])
            elif not _is_chip_neuron(module):
                found.append((each, pooling))
            else:
                self._add_problem(each, "the order is convolution, neurons, pooling")
        return found

    def _pooling(self, node: str, module: SumPool | nn.AvgPool2d) -> None:
        kernel, stride, padding = (_pair(getattr(module, name)) for name in ("kernel_size", "stride", "padding"))
        if kernel[0] != kernel[1] or kernel != stride or any(padding):
            text = f"kernel {_sizes_text(kernel)}, stride {_sizes_text(stride)}, padding {_sizes_text(padding)}"
            self._add_problem(node, f"{text}; must be square, stride as kernel, padding 0")
        # A pooling of the input is done by the layer of the camera.
        if not all(
            _is_chip_neuron(self.modules.get(each))
            or self._is(each, SumPool | nn.AvgPool2d)
            or each not in self.modules
            for each in self._sources_of(node)
        ):
            self._add_problem(node, "the order is convolution, neurons, pooling")


_LAYERS = nn.Conv2d | nn.Linear | SumPool | nn.AvgPool2d | nn.Flatten


def _is_chip_neuron(module: nn.Module | None) -> TypeGuard[Neuron]:
    """Return whether neurons are those of a core: IF of NIR, without a leak."""
    said = vars(type(module)).get("nir")
    return isinstance(said, NIRNode) and said.kind == "IF"


def assignment_lines(cores: Sequence[Core]) -> Iterator[str]:
    """Yield the number of layers, and a line for each core with its layer."""
    yield f"Speck: {len(cores)} layers fit {len(CORES)} cores"
    yield from (f"  {core}" for core in cores)


def _bits(number: int) -> int:
    """Return the bits of an address of `number` entries, ceil(log2(number))."""
    return (number - 1).bit_length()


def _output_shape(module: nn.Conv2d, in_shape: Shape) -> Shape:
    if module.padding == "same":
        return (module.out_channels, *in_shape[1:])
    padding = (0, 0) if isinstance(module.padding, str) else module.padding
    sizes = zip(in_shape[1:], padding, module.dilation, module.kernel_size, module.stride, strict=True)
    return (module.out_channels, *((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in sizes))


def _pair(sizes: Any) -> tuple[int, int]:
    return (sizes, sizes) if isinstance(sizes, int) else (int(sizes[0]), int(sizes[-1]))


def _sizes_text(sizes: Sequence[int]) -> str:
    return str(sizes[0]) if len({*sizes}) == 1 else str(list(sizes))


def _layer_text(module: nn.Module) -> str:
    if isinstance(module, nn.MaxPool2d | nn.AdaptiveMaxPool2d):
        return "max_pool -> sum_pool or avg_pool"
    if isinstance(module, Neuron) and module.info().feedback is not None:
        return "recurrent -> type: iaf, recurrent: false"
    if isinstance(module, Neuron):
        return f"{type(module).__name__} -> type: iaf"
    return f"{type(module).__name__}: a core has conv2d or linear, iaf, sum_pool or avg_pool"
