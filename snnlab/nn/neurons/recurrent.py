"""Recurrent neurons: any neuron with a dense or convolutional feedback of its output."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnlab.compat import has_no_hooks
from snnlab.errors import ConfigError
from snnlab.kernels import function, recurrent_loops
from snnlab.kernels.function import Kernel, KernelOutput
from snnlab.kernels.recurrent_loops import LinearMap
from snnlab.kernels.reference import unroll
from snnlab.kernels.sparse_feedback import SparseFeedback
from snnlab.nn.delays import SingleDelays, make_delays
from snnlab.nn.layer import OWN_SPIKES, Counts, Dt, InShape, Size, per_axis, size_text, split_channels
from snnlab.nn.neurons.base import Neuron, backend_of, cast_coefficients, to_full_precision
from snnlab.nn.neurons.info import DELAYED_FEEDBACK, FeedbackInfo, NeuronInfo
from snnlab.nn.neurons.learn import Shape
from snnlab.nn.neurons.time_constants import Constant
from snnlab.registry import Registry
from snnlab.spec.declared import Declared, no_setting, setting

FEEDBACKS = Registry("feedback")

CONVOLVE: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


class FeedbackWeights(NamedTuple):
    """A feedback's weight, with removed autapses set to 0, and its bias."""

    weight: Tensor
    bias: Tensor | None


class Feedback(Declared, nn.Module, ABC):
    """Feedback from a layer's outputs of one step to its input at the next; `prepare` makes its weight.

    Args:
        in_shape: Shape of the layer, of one sample at one step.
        autapses: Whether a neuron reaches itself.
        bias: Whether a bias is added at each step, one for each output of the weight.
        init: `uniform` within +-1/sqrt(fan_in), like torch's layers; `norse`: normal, standard deviation
            sqrt(2 / fan_in); `orthogonal`. fan_in is the number of neurons that reach each neuron.
        delay: Delays of the weights, `{max: 25, learn: true}`, max in ms, in addition to the step that every feedback
            takes.
    """

    in_shape: InShape = setting(kw_only=False)
    autapses: bool = True
    has_bias: bool = setting(default=False, alias="bias")
    init: Literal["uniform", "norse", "orthogonal"] = "uniform"
    dt: Dt = None
    delay: Annotated[Mapping[str, Any] | None, SingleDelays] = None
    autapse: Tensor = no_setting()
    # Rounds the weights to whole numbers, see `snnlab.nn.quantization`.
    whole: nn.Module | None = no_setting()

    def make_weights(self, autapse: Tensor, fan_in: int) -> None:
        """Make weight, bias and delays.

        Args:
            autapse: Mask of the weights that connect a neuron to itself, of the weight's shape, outputs first.
            fan_in: Number of neurons that reach each neuron.
        """
        shape, init = tuple(autapse.shape), self.init
        # Before the weight, whose random numbers follow theirs.
        delays = None if self.delay is None else make_delays(self.delay, shape, self.dt)
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(shape[0])) if self.has_bias else None
        self.register_buffer("autapse", autapse, persistent=False)
        with torch.no_grad():
            if init == "orthogonal":
                nn.init.orthogonal_(self.weight)
            elif init == "norse":
                self.weight.normal_(0.0, (2.0 / fan_in) ** 0.5)
            else:
                self.weight.uniform_(-(fan_in**-0.5), fan_in**-0.5)
                if self.bias is not None:
                    self.bias.uniform_(-(fan_in**-0.5), fan_in**-0.5)
            self.weight.copy_(self.real_connections())
        self.delays, self.whole = delays, None

    @property
    def past_steps(self) -> int:
        """The number of past steps whose outputs feed back."""
        return 1 if self.delays is None else self.delays.max_steps + 1

    def real_connections(self) -> Tensor:
        """Return the weight of each connection, without its delay; 0 for removed autapses."""
        return self.weight if self.autapses else self.weight.masked_fill(self.autapse, 0.0)

    def connections(self) -> Tensor:
        """Return `real_connections`, rounded where the network is one in whole numbers."""
        real = self.real_connections()
        return real if self.whole is None else self.whole(real)

    def weights(self) -> FeedbackWeights:
        """Return weight and bias, called once per forward pass; with delays the sources are those of all past steps."""
        weight = self.connections()
        if self.delays is not None:
            weight = self.delays.kernel(weight[..., None]).movedim(-1, 1).flatten(1, 2)
        return FeedbackWeights(weight, self.bias)

    @abstractmethod
    def forward(self, s: Tensor, weights: FeedbackWeights) -> Tensor:
        """Return the feedback of the outputs `s` of the past steps, `[B, past_steps * C, ...]`, the oldest first."""

    def linear_map(self, weights: FeedbackWeights) -> LinearMap:
        """Return the feedback with these weights as a linear map with its gradients, for rendered loops."""
        raise NotImplementedError


@FEEDBACKS.register("dense")
class DenseFeedback(Feedback):
    """Every neuron reaches every other: W s[t-1], over all axes of the layer, flattened."""

    def prepare(self) -> None:
        size = torch.Size(self.in_shape).numel()
        self.make_weights(torch.eye(size, dtype=torch.bool), size)

    def forward(self, s: Tensor, weights: FeedbackWeights) -> Tensor:
        """Return W s + b."""
        return functional.linear(s.flatten(1), *weights).view(-1, *self.in_shape)

    def linear_map(self, weights: FeedbackWeights) -> LinearMap:
        return SparseFeedback(*weights)


class ConvMap(NamedTuple):
    """A convolution that keeps the size of its input, with its gradients.

    Attributes:
        weight: The kernel.
        bias: The bias, or None.
        padding: Cells of zeros on each side, by axis.
    """

    weight: Tensor
    bias: Tensor | None
    padding: tuple[int, ...]

    def __call__(self, s: Tensor) -> Tensor:
        """Return the convolution of s."""
        return CONVOLVE[len(self.padding)](s, self.weight, self.bias, padding=self.padding)

    def output_gradient(self, g: Tensor) -> Tensor:
        """Return the transposed convolution of g."""
        return self._backward(g, g, (True, False, False))[0]

    def weight_gradients(self, g: Tensor, s: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the correlation of g with s, and the sum of g."""
        _, weight, bias = self._backward(g, s, (False, True, self.bias is not None))
        return weight, bias

    def _backward(self, g: Tensor, s: Tensor, output_mask: tuple[bool, bool, bool]) -> tuple[Any, ...]:
        """Return the gradients of input, weight and bias that `output_mask` selects, from g, that of the output."""
        ones, zeros = [1] * len(self.padding), [0] * len(self.padding)
        size = None if self.bias is None else list(self.bias.shape)
        return torch.ops.aten.convolution_backward(
            g, s, self.weight, size, ones, self.padding, ones, False, zeros, 1, output_mask
        )


@FEEDBACKS.register("conv")
class ConvFeedback(Feedback):
    """Neurons reach their neighbours in all channels: a convolution that keeps the layer's size.

    Args:
        in_shape: Shape of the layer, `[C, *size]` with one to three axes of size.
        kernel_size: Odd size of the kernel, one number or one per axis.
        autapses: Whether a neuron reaches itself: the kernel's centre, from a channel to the same channel.
    """

    kernel_size: Size = 3

    def prepare(self) -> None:
        dims = len(self.in_shape) - 1
        if dims not in CONVOLVE:
            shapes = "[C, W], [C, H, W] or [C, D, H, W]"
            raise ConfigError("", f"conv needs a layer of shape {shapes}, got {list(self.in_shape)}")
        channels, _ = split_channels("conv", self.in_shape, dims)
        kernel = per_axis("kernel_size", self.kernel_size, dims)
        if any(k % 2 == 0 for k in kernel):
            odd = size_text(tuple(k + 1 - k % 2 for k in kernel))
            raise ConfigError(
                "kernel_size",
                f"must be odd, so that the feedback has the layer's size, got {size_text(kernel)}",
                f"set it to {odd}",
            )
        autapse = torch.zeros((channels, channels, *kernel), dtype=torch.bool)
        self.padding = tuple(k // 2 for k in kernel)
        diagonal = torch.arange(channels)
        autapse[(diagonal, diagonal, *self.padding)] = True
        self.make_weights(autapse, channels * torch.Size(kernel).numel())

    def forward(self, s: Tensor, weights: FeedbackWeights) -> Tensor:
        """Return the convolution of s."""
        return self.linear_map(weights)(s)

    def linear_map(self, weights: FeedbackWeights) -> ConvMap:
        return ConvMap(*weights, self.padding)


FeedbackSetting = bool | Mapping[str, Any] | Feedback


def feedback(recurrent: bool | Mapping[str, Any], in_shape: Shape | None, dt: float | None = None) -> Feedback:
    """Return the feedback for a YAML's `recurrent`: `true` is dense for features and a 3x3 convolution for images."""
    if not in_shape:
        raise ConfigError("recurrent", "needs in_shape, the shape of one sample at one step, with at least 1 axis")
    settings = dict(recurrent) if isinstance(recurrent, Mapping) else {}
    default = "dense" if len(in_shape) == 1 else "conv"
    return FEEDBACKS.build(settings.pop("type", default), settings, "recurrent", in_shape=in_shape, dt=dt)


class RecurrentState(NamedTuple):
    """The layer's last outputs s, `[B, past_steps * C, ...]`, one without delays, and the state of its neurons."""

    s: Tensor
    neuron: Any


class Recurrent(Neuron):
    """Neurons whose input at each step includes the feedback of their last output.

        (y[t], state[t]) = neuron(x[t] + feedback(y[t-1]), state[t-1]),   y[-1] = 0

    With delays, the feedback depends on the outputs of several past steps; then the plain loop runs it.

    In summaries it has the name of its neurons. A feedback over several layers is the block `loop`.

    Args:
        neuron: The neurons.
        feedback: Their feedback.

    Shape:
        x: `[T, B, ...]`; state: `RecurrentState(s, neuron)`; returns the same as the neurons.
    """

    def __init__(self, neuron: Neuron, feedback: Feedback) -> None:
        super().__init__(getattr(neuron, "dt", None))
        self.neuron, self.feedback = neuron, feedback
        self.spiking = neuron.spiking  # type: ignore[misc]

    def coefficients(self) -> tuple[Any, FeedbackWeights]:
        """Return the neurons' coefficients and the feedback's weights."""
        return self.neuron.coefficients(), self.feedback.weights()

    def initial_state(self, x: Tensor) -> RecurrentState:
        past = x.repeat(1, self.feedback.past_steps, *[1] * (x.dim() - 2))
        return RecurrentState(torch.zeros_like(past), self.neuron.initial_state(x))

    def step(
        self, x: Tensor, state: RecurrentState, coefficients: tuple[Any, FeedbackWeights]
    ) -> tuple[Tensor, RecurrentState]:
        own, weights = coefficients
        y, after = self.neuron.step(x + self.feedback(state.s, weights), state.neuron, own)
        s = y if self.feedback.past_steps == 1 else torch.cat([state.s[:, y.shape[1] :], y], 1)
        return y, RecurrentState(s, after)

    def forward(
        self, x: Tensor, state: Any = None, *, lengths: Tensor | None = None, counts: Counts | None = None
    ) -> tuple[Tensor, Any]:
        """Run all steps, by rendered loops if the neurons' step can be traced."""
        x = to_full_precision(x)
        state = self.initial_state(x[0]) if state is None else state
        k, weights = cast_coefficients(self.coefficients(), x)
        count = self.spiking and counts is not None
        found = self._kernel(x, state, k, weights)
        if isinstance(found, str):
            y, state = unroll(self.step, x, state, (k, weights), lengths)
            done = KernelOutput(y, state, y.sum(0) if count else None)
        else:
            s, own = state
            ran = recurrent_loops.run(found, self.feedback, x, s, own, k, weights, lengths, count=count)
            done = KernelOutput(ran.y, RecurrentState(ran.s, ran.state), ran.counts)
        if counts is not None and done.counts is not None:
            counts[OWN_SPIKES] = done.counts
        return done.y, done.state

    def _kernel(self, x: Tensor, state: RecurrentState, k: Any, weights: FeedbackWeights) -> Kernel | str:
        """Return the kernel of the neurons' step, or the reason for the plain loop."""
        if function.resolve_backend(backend_of(self), x.device, x.dtype) == "reference":
            return "reference"
        # Not a map that is inherited: a subclass may have another forward.
        handwritten_gradient = (
            "linear_map" in vars(type(self.feedback)) and has_no_hooks(self.feedback) and self.feedback.delays is None
        )
        if not handwritten_gradient and backend_of(self) == "auto":
            return "reference"
        if not handwritten_gradient:
            raise ConfigError(
                "backend",
                f"{self.backend} needs a feedback with a hand-written derivative, without hooks and without delays",
                "set backend: auto",
            )
        grad = torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in (state.s, *weights))
        return function.kernel_for(self.neuron.step, x, state.neuron, k, backend=backend_of(self.neuron), grad=grad)

    def parts(self) -> tuple[Neuron, Feedback]:
        return self.neuron, self.feedback

    def constants(self) -> list[Constant]:
        return self.neuron.constants()

    def info(self) -> NeuronInfo:
        own = self.neuron.info()
        feedback = FeedbackInfo(tuple(self.feedback.weight.shape[2:]), self.feedback.autapses)
        return replace(own, feedback=feedback, warnings=(*own.warnings, DELAYED_FEEDBACK))
