"""Base class of neurons: coefficients are computed once per forward pass, then the steps run one after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from snnlab.kernels import function
from snnlab.kernels.function import Backend, KernelOutput
from snnlab.kernels.layout import Pool
from snnlab.nn.layer import OWN_SPIKES, Counts, Dt, Reach, TemporalLayer
from snnlab.nn.neurons.info import NeuronInfo
from snnlab.nn.neurons.learn import StoredQuantity
from snnlab.nn.neurons.nir_node import InNIR, NIRNode
from snnlab.nn.neurons.time_constants import Constant, Decay
from snnlab.nn.surrogate import SurrogateSetting, as_surrogate
from snnlab.spec.declared import Declared, declared_fields, no_setting, setting
from snnlab.spec.field import Help
from snnlab.spec.interval import FINITE, above
from snnlab.spec.signatures import checks_arguments

HALF = (torch.bfloat16, torch.float16)
# Fields of several neurons.
DetachReset = Annotated[bool, Help("Whether the reset has no gradient.")]
FiringThreshold = Annotated[float, above(0), Help("Firing threshold, dimensionless.")]
InputFactor = Annotated[float, FINITE, Help("Factor of the input.")]


class Neuron(Declared, TemporalLayer, ABC):
    """Base class of a population of neurons; subclasses define its settings, its state and its update.

    A new neuron is one file with a NamedTuple of its state and three methods, registered in `NEURONS`. Its settings
    are annotated attributes, which subclasses inherit. Its step is traced, and loops rendered from it run it; if it
    cannot be traced, `auto` runs the plain loop and reports why.

    Args:
        recurrent: Whether the neurons' outputs feed back to them one step later: `true`, or the feedback's settings,
            `{type: dense, autapses: false}`. Every neuron takes it.
        output: Variable of the state, such as `v`, that is the layer's output in place of its spikes; None: its own
            output. Every neuron takes it.

    Shape:
        x: `[T, B, ...]`; state: a NamedTuple of `[B, ...]`; returns `[T, B, ...]` and the state.
    """

    dt: Dt = setting(default=None, kw_only=False)
    reach: Reach = no_setting("past")
    equations: ClassVar[tuple[str, ...]] = ()
    spiking: ClassVar[bool] = True
    # True if it may spike several times per step; then a pooling after it is not fused, so that spikes are counted.
    graded: ClassVar[bool] = False
    # True if rendered loops may round differently from the plain loop, as with an exponential function.
    approximate: ClassVar[bool] = False
    # True if it computes all steps at once and has no single step, which a feedback of its spikes would need.
    parallel: ClassVar[bool] = False
    # True if the device that `disturbances.Precision` imitates stores the coefficients of the step, not its parameters.
    rounds_coefficients: ClassVar[bool] = True
    # True if its coefficients and states are whole numbers of a target, which `quantize` made of another neuron.
    is_quantized: ClassVar[bool] = False
    backend: Backend = no_setting("auto")
    nir: ClassVar[NIRNode | None] = None

    @abstractmethod
    def coefficients(self) -> Any:
        """Return the coefficients of the update, computed once per forward pass in double precision."""

    @abstractmethod
    def initial_state(self, x: Tensor) -> Any:
        """Return the state at rest for one step of input `[B, ...]`."""

    @abstractmethod
    def step(self, x: Tensor, state: Any, coefficients: Any) -> tuple[Tensor, Any]:
        """Return the output of one step and the state after it."""

    def weighted_input(self, x: Tensor) -> Tensor:
        """Return the input of all steps as `step` takes it: x itself, unless each step has a weight of its own."""
        return x

    def definitions(self) -> dict[str, str]:
        """Return what coefficients are in the equations that are rendered from the step, by their names.

        `"1 - a"` stands in place of the coefficient; `"g = (1 - a) * tau_mem / dt"` is a symbol with its formula, of
        settings and other symbols. A name may be one that the step reads from the neuron, or `x`, its input.
        """
        return {}

    def in_nir(self, dt: float) -> InNIR | None:
        """Return the neuron as a node of NIR, by forward Euler with steps of dt; None if there is none like it.

        A class says it itself, here or by `nir`: a subclass, which may have another step, does not inherit it.
        """
        return None

    def why_no_node(self) -> tuple[str, str]:
        """Return what has no node in NIR, and what to set instead, where `in_nir` is None."""
        return f"the neuron {type(self).__name__}", "type: lif, cuba_lif or iaf"

    def decays(self) -> list[Decay]:
        """Return the decays of its variables, as they were set."""
        return []

    def stored_quantity(self, name: str) -> StoredQuantity | None:
        """Return where the values of a quantity are stored; None if it is neither learned nor one per neuron."""
        return None

    def learned_values(self) -> Iterator[tuple[str, str, Tensor]]:
        """Yield name, unit and values of each quantity that it learns, detached, in double precision.

        A time constant has the unit `ms`, or `steps` if steps have no length.
        """
        yield from ()

    def map_quantities(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change the values of learned quantities that are stored on another scale, in the unit of their settings."""

    def scale_time_constants(self, shape: tuple[int, ...], factor: Callable[[tuple[int, ...]], Tensor]) -> bool:
        """Multiply each time constant of each neuron by a factor of its own; return whether it has any that can differ.

        Args:
            shape: Shape of the neurons of one sample.
            factor: Draws factors of a shape, in double precision.
        """
        return False

    def constants(self) -> list[Constant]:
        """Return the time constants, for `snnlab show`."""
        return []

    def rest_of_one_sample(self) -> Any:
        """Return the state at rest of one sample, of one neuron if it does not know its shape."""
        return self.initial_state(torch.zeros(1, *(getattr(self, "in_shape", None) or (1,))))

    def state_variables(self) -> tuple[str, ...]:
        """Return the names of its state's variables; none if it computes all steps at once."""
        return () if self.parallel else type(self.rest_of_one_sample())._fields

    def parts(self) -> tuple[Neuron, nn.Module | None]:
        """Return the neurons without their feedback, and the feedback; None without one."""
        return self, None

    def info(self) -> NeuronInfo:
        """Return a description: gain, threshold, reset, and dependence on dt."""
        return NeuronInfo()

    @property
    def dt_invariant(self) -> bool:
        """True if impulses at the same times have the same effect for any length of a step."""
        info = self.info()
        physical = all(constant.unit == "ms" for constant in self.constants())
        return physical and info.drive_power == 0 and not info.warnings

    def forward(
        self, x: Tensor, state: Any = None, *, lengths: Tensor | None = None, counts: Counts | None = None
    ) -> tuple[Tensor, Any]:
        """Run all steps."""
        done = self.run(x, state, lengths, counts)
        return done.y, done.state

    def run(
        self,
        x: Tensor,
        state: Any,
        lengths: Tensor | None,
        counts: Counts | None,
        *,
        pool: Pool | None = None,
        inplace: bool = False,
    ) -> KernelOutput:
        """Run all steps with the neuron's backend, with an optional pooling of the output, or in place of the input."""
        x = to_full_precision(x)
        if state is None:
            state = self.initial_state(x[0])
        done = function.run(
            self.step,
            x,
            state,
            cast_coefficients(self.coefficients(), x),
            lengths,
            backend=backend_of(self),
            count=self.spiking and counts is not None,
            pool=pool,
            inplace=inplace,
        )
        if counts is not None and done.counts is not None:
            counts[OWN_SPIKES] = done.counts
        return done


class NeuronWrapper(Neuron):
    """Base class of neurons that are other neurons with another output, or other numbers.

    Args:
        neuron: The other neurons.
    """

    def __init__(self, neuron: Neuron) -> None:
        super().__init__(getattr(neuron, "dt", None))
        self.neuron = neuron
        for name in ("spiking", "graded", "reach", "approximate", "parallel", "rounds_coefficients"):
            setattr(self, name, getattr(neuron, name))

    def coefficients(self) -> Any:
        return self.neuron.coefficients()

    def initial_state(self, x: Tensor) -> Any:
        return self.neuron.initial_state(x)

    def rest_of_one_sample(self) -> Any:
        return self.neuron.rest_of_one_sample()

    def weighted_input(self, x: Tensor) -> Tensor:
        return self.neuron.weighted_input(x)

    def learned_values(self) -> Iterator[tuple[str, str, Tensor]]:
        return self.neuron.learned_values()

    def map_quantities(self, change: Callable[[Tensor], Tensor]) -> None:
        self.neuron.map_quantities(change)

    def scale_time_constants(self, shape: tuple[int, ...], factor: Callable[[tuple[int, ...]], Tensor]) -> bool:
        return self.neuron.scale_time_constants(shape, factor)

    def constants(self) -> list[Constant]:
        return self.neuron.constants()

    def info(self) -> NeuronInfo:
        return self.neuron.info()


class SurrogateNeuron(Neuron):
    """Base class of neurons whose spikes have a surrogate gradient.

    Args:
        surrogate: A `Surrogate`, or its YAML node, such as `{type: atan, width: 0.5}`; `snnlab list surrogates` lists
            them.
    """

    surrogate: SurrogateSetting = setting(default={"type": "atan"})

    def prepare(self) -> None:
        super().prepare()
        default = declared_fields(type(self))["surrogate"].default
        self.surrogate = as_surrogate(default if self.surrogate is None else self.surrogate)


def to_full_precision(x: Tensor) -> Tensor:
    """Return the input in single precision if autocast has reduced it to half precision.

    A membrane sums over all steps, so that rounding errors accumulate.
    """
    return x.float() if x.dtype in HALF and autocast_dtype(x.device.type) is not None else x


def autocast_dtype(device: str) -> torch.dtype | None:
    """Return the data type of autocast on this type of device; None without it, as on `meta`, which has no autocast."""
    enabled = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if enabled else None


def without_autocast(device: str) -> AbstractContextManager[Any]:
    """Return a context in which operations have the precision of their input."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def cast_coefficients(coefficients: Any, like: Tensor) -> Any:
    """Return coefficients with learned ones, which are tensors, rounded to the input's precision."""
    if isinstance(coefficients, Tensor):
        return coefficients.to(like.dtype)
    if isinstance(coefficients, tuple):
        parts: list[Any] = [part if type(part) is float else cast_coefficients(part, like) for part in coefficients]
        return type(coefficients)(*parts) if hasattr(coefficients, "_fields") else type(coefficients)(parts)
    return coefficients


@checks_arguments
def set_backend(network: nn.Module, backend: Backend) -> None:
    """Set the backend of all neurons of a network.

    Args:
        network: The network, changed in place.
        backend: `auto`; `reference`, the plain loop; `numba`, rendered loops for the CPU; `triton`, rendered loops for
            NVIDIA's GPUs.
    """
    for module in network.modules():
        if isinstance(module, Neuron):
            module.backend = backend


_forced_reference: ContextVar[bool] = ContextVar("plain", default=False)


@contextmanager
def plain_loops() -> Iterator[None]:
    """Run the neurons of this thread by the plain loop within a `with` block, so that a few steps compile nothing."""
    token = _forced_reference.set(True)
    try:
        yield
    finally:
        _forced_reference.reset(token)


def backend_of(neuron: Neuron) -> Backend:
    """Return the backend of a neuron; within `plain_loops` it is `reference`."""
    # torch.compile does not support context variables.
    return neuron.backend if torch.compiler.is_compiling() or not _forced_reference.get() else "reference"


def named_neurons(network: nn.Module) -> Iterator[tuple[str, Neuron]]:
    """Yield a network's neurons with their dotted names; the neuron inside a recurrent one is not yielded."""
    within: str | None = None
    for name, layer in network.named_modules():
        if isinstance(layer, Neuron) and not (within is not None and name.startswith(f"{within}.")):
            within = name
            yield name, layer
