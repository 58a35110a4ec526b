"""An estimate of the energy of synaptic operations: their numbers times what one takes. It is no measurement.

Left out are memory, which takes more than arithmetic on most chips, membranes, and what communication takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from snnlab.errors import ConfigError, RecordError
from snnlab.intervals import above
from snnlab.settings import check_settings


@dataclass(frozen=True)
class Energy:
    """What an operation takes.

    Args:
        mac_pj: A multiplication and an addition, pJ.
        ac_pj: An addition, pJ.
        source: Where the numbers come from.
    """

    mac_pj: Annotated[float, "pJ", above(0)] = 4.6
    ac_pj: Annotated[float, "pJ", above(0)] = 0.9
    source: str = "32-bit floats in 45 nm: Horowitz, ISSCC 2014"

    def __str__(self) -> str:
        return (
            f"estimate, not measured: {self.mac_pj:g} pJ a MAC and {self.ac_pj:g} pJ an AC ({self.source}); without"
            " memory, membranes and communication"
        )


def energy_of(node: Mapping[str, Any] | None, place: str) -> Energy:
    """Return the constants of a suite's `energy`; None stands for the usual ones.

    Raises:
        RecordError: if a constant is unknown or not positive.
    """
    try:
        check_settings(Energy, node or {}, f"{place}.energy", "energy")
    except ConfigError as error:
        raise RecordError(error.place, error.message, error.hint, error.allowed) from error
    return Energy(**(node or {}))
