"""What a kernel of the canonical recurrence is told besides its numbers; see `neurons.membrane` for the equations."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

from snnlab.nn.surrogate import Surrogate


class Rule(NamedTuple):
    """The dialect of a canonical neuron.

    Attributes:
        reset: What a spike does to the membrane; none where nothing spikes, too. An adaptive threshold may be
            subtracted as it is then: adapted.
        reset_delay: Whether it does so one step later.
        detach_reset: Whether the gradient leaves the reset out.
        strict: Whether a membrane exactly at the threshold stays silent.
        synapse: Whether there is a current, and when a jump on it begins to decay.
        surrogate: The spike's gradient; None for an integrator, whose output is its membrane.
    """

    reset: Literal["subtract", "adapted", "value", "none"]
    reset_delay: bool
    detach_reset: bool
    strict: bool
    synapse: Literal["none", "jump_first", "decay_first"]
    surrogate: Surrogate | None

    @property
    def spikes(self) -> bool:
        """Whether the output is spikes, and not the membrane."""
        return self.surrogate is not None


class Run(NamedTuple):
    """What a kernel returns.

    Attributes:
        y: Spikes, or the membrane of an integrator, `[T, B, ...]`; zeros past a sample's length.
        v: Membrane after the last valid step, `[B, ...]`.
        i: Current after the last valid step, `[B, ...]`; None without a synapse.
        n: Spikes of each neuron, summed over the valid steps, `[B, ...]`; None where nobody asks or nothing spikes.
    """

    y: Tensor
    v: Tensor
    i: Tensor | None
    n: Tensor | None
