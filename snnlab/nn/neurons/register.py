"""The registry of neurons: each is also a layer, can have feedback of its output, and can output its state."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

from snnlab.errors import ConfigError
from snnlab.nn.layer import LAYERS
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.learn import InShape
from snnlab.nn.neurons.recurrent import Feedback, FeedbackSetting, Recurrent, feedback
from snnlab.nn.neurons.state_output import StateOutput
from snnlab.registry import Registry
from snnlab.spec.docstrings import argument_texts
from snnlab.spec.field import Field
from snnlab.spec.signatures import checks_arguments, document_arguments, fields_of

N = TypeVar("N", bound=type[Neuron])


class NeuronRegistry(Registry):
    """A registry that adds the settings `recurrent` and `output` to every neuron."""

    def register(self, name: str) -> Callable[[N], N]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return a decorator that registers a neuron's class under `name`."""

        def decorate(neuron: N) -> N:
            document_arguments(neuron)
            super(NeuronRegistry, self).register(name)(_AsLayer(checks_arguments(neuron)))
            return neuron

        return decorate


NEURONS = NeuronRegistry("neuron", within=LAYERS)


# A neuron's class with the settings of its layer. It has no docstring: readers unwrap it to the class. Signature and
# fields are read when they are asked for: at each start nobody asks for those of all neurons.
class _AsLayer:
    def __init__(self, neuron: type[Neuron]) -> None:
        self.neuron = neuron
        functools.update_wrapper(self, neuron, ("__module__", "__name__", "__qualname__"), ())

    def __call__(
        self,
        *args: Any,
        recurrent: FeedbackSetting = False,
        output: str | None = None,
        in_shape: InShape = None,
        **settings: Any,
    ) -> Neuron:
        if "in_shape" in self._own:
            settings["in_shape"] = in_shape
        built = self.neuron(*args, **settings)
        if output is not None and recurrent is not False:
            raise ConfigError("output", "takes the place of the spikes, which recurrent feeds back", "leave out one")
        if recurrent is False:
            return built if output is None else StateOutput(built, output)
        if built.parallel or built.reach == "recording":
            raise ConfigError("recurrent", f"{type(built).__name__} needs all steps at once, so nothing can feed back")
        dt = args[0] if args else settings.get("dt")
        return Recurrent(built, recurrent if isinstance(recurrent, Feedback) else feedback(recurrent, in_shape, dt))

    @cached_property
    def _own(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.neuron).parameters

    @cached_property
    def __fields__(self) -> Mapping[str, Field]:
        own, texts = fields_of(self.neuron), argument_texts(self.neuron)  # which has those of the base
        added = {name: field for name, field in fields_of(self.__call__).items() if name not in own}
        return own | {name: replace(field, help=texts.get(name, field.help)) for name, field in added.items()}

    @cached_property
    def __signature__(self) -> inspect.Signature:
        added = inspect.signature(self.__call__).parameters
        extra = [added["recurrent"], added["output"], *([] if "in_shape" in self._own else [added["in_shape"]])]
        return inspect.Signature([*self._own.values(), *extra])
