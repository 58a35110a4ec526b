"""The registry of neurons: each is also a layer, and each can have feedback of its output."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from snnlab.errors import ConfigError
from snnlab.nn.layer import LAYERS
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.learn import Shape
from snnlab.nn.neurons.recurrent import Feedback, FeedbackSetting, Recurrent, feedback
from snnlab.registry import Registry
from snnlab.spec.docstrings import document_arguments
from snnlab.spec.signatures import checks_arguments

N = TypeVar("N", bound=type[Neuron])


class NeuronRegistry(Registry):
    """A registry that adds the setting `recurrent` to every neuron."""

    def register(self, name: str) -> Callable[[N], N]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return a decorator that registers a neuron's class under `name`."""

        def decorate(neuron: N) -> N:
            document_arguments(neuron)
            super(NeuronRegistry, self).register(name)(_with_recurrence(checks_arguments(neuron)))
            return neuron

        return decorate


NEURONS = NeuronRegistry("neuron", within=LAYERS)


def _with_recurrence(neuron: type[Neuron]) -> Callable[..., Neuron]:
    """Return a function that takes the neuron's settings and `recurrent`, with a matching signature."""
    own = inspect.signature(neuron).parameters

    @functools.wraps(neuron, updated=())
    def build(*args: Any, recurrent: FeedbackSetting = False, in_shape: Shape | None = None, **settings: Any) -> Neuron:
        if "in_shape" in own:
            settings["in_shape"] = in_shape
        built = neuron(*args, **settings)
        if recurrent is False:
            return built
        if built.parallel or built.reach == "recording":
            raise ConfigError("recurrent", f"{type(built).__name__} needs all steps at once, so nothing can feed back")
        dt = args[0] if args else settings.get("dt")
        return Recurrent(built, recurrent if isinstance(recurrent, Feedback) else feedback(recurrent, in_shape, dt))

    added = inspect.signature(build, follow_wrapped=False).parameters
    extra = [added["recurrent"], *([] if "in_shape" in own else [added["in_shape"]])]
    build.__signature__ = inspect.Signature([*own.values(), *extra])  # type: ignore[attr-defined]
    build.__annotations__ = typing.get_type_hints(neuron.__init__, include_extras=True) | {
        "recurrent": FeedbackSetting,
        "in_shape": Shape | None,
    }
    return build
