"""What the walks back need of the walks forward, where some inputs ask for gradients."""

from __future__ import annotations

from collections.abc import Collection

from snnlab.nn.kernels.rule import Rule


def of_canonical(rule: Rule, wanted: Collection[str]) -> list[str]:
    """Return what a walk back through one step of the canonical recurrence needs.

    These are the membrane before the reset (u), membrane and current before the step (vs, is), the current (j) and the
    input (x).
    """
    synapse = rule.synapse != "none"
    needs = {
        "u": rule.spikes,
        "vs": "a" in wanted or rule.reset_delay,
        "j": synapse and "g" in wanted,
        "is": synapse and "b" in wanted,
        "x": ("g" in wanted and not synapse) or ("b" in wanted and rule.synapse == "decay_first"),
    }
    return [name for name, needed in needs.items() if needed]


def of_adaptive(rule: Rule, wanted: Collection[str]) -> list[str]:
    """Return what a walk back through neurons with an adaptive threshold needs.

    These are the membrane before the reset less the threshold (gaps), the input (x), the spikes (y), and membrane and
    adaptation before each step (vs, ws).
    """
    reset, attached = rule.reset, not rule.detach_reset
    takes_threshold = reset == "adapted" and (attached or "r" in wanted)
    needs = {
        "gaps": True,
        "x": "g" in wanted,
        "y": reset in ("adapted", "value") or "r" in wanted,
        "vs": "a" in wanted,
        "ws": takes_threshold or (reset == "value" and attached) or bool({"rho", "adaptation"} & {*wanted}),
    }
    return [name for name, needed in needs.items() if needed]
