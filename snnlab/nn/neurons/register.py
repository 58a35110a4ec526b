"""The registry of neurons: each is also a layer, and each can have feedback of its output."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from snnlab.errors import ConfigError
from snnlab.nn.layer import LAYERS
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.learn import InShape
from snnlab.nn.neurons.recurrent import Feedback, FeedbackSetting, Recurrent, feedback
from snnlab.registry import Registry
from snnlab.spec.signatures import checks_arguments, document_arguments, fields_of

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
    own, fields = inspect.signature(neuron).parameters, fields_of(neuron)

    def build(*args: Any, recurrent: FeedbackSetting = False, in_shape: InShape = None, **settings: Any) -> Neuron:
        if "in_shape" in own:
            settings["in_shape"] = in_shape
        built = neuron(*args, **settings)
        if recurrent is False:
            return built
        if built.parallel or built.reach == "recording":
            raise ConfigError("recurrent", f"{type(built).__name__} needs all steps at once, so nothing can feed back")
        dt = args[0] if args else settings.get("dt")
        return Recurrent(built, recurrent if isinstance(recurrent, Feedback) else feedback(recurrent, in_shape, dt))

    fields |= {name: field for name, field in fields_of(build).items() if name not in fields}
    added = inspect.signature(build).parameters
    extra = [added["recurrent"], *([] if "in_shape" in own else [added["in_shape"]])]
    functools.update_wrapper(build, neuron, ("__module__", "__name__", "__qualname__", "__doc__"), ())
    build.__signature__ = inspect.Signature([*own.values(), *extra])  # type: ignore[attr-defined]
    build.__fields__ = fields  # type: ignore[attr-defined]
    return build
