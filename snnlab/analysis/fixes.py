"""Fixes of a network's problems: settings, tried one after the other until no problem is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from snnlab.analysis.findings import MIN_UPDATE, Finding, findings, is_silent, short_time_constant
from snnlab.analysis.layer_statistics import Layer, Vitals
from snnlab.nn.init import INITS, FluctuationDriven, Initialisation

Node = Mapping[str, Any]


class Case(NamedTuple):
    """The settings of an experiment that a fix may change.

    Attributes:
        layers: `model.layers`, with the neuron filled in.
        neuron: The experiment's neuron, or None.
        init: `model.init`, or None.
        trained: Whether the weights come from a run, so that an initialization has no effect.
    """

    layers: Node
    neuron: Node | None
    init: Node | None
    data: Node
    optimizer: Node
    trained: bool

    def key(self, layer: str, name: str) -> str:
        """Return the key of a layer's setting: `neuron.NAME` where all spiking layers have it from the neuron."""
        own, node = _find(self.layers, layer.split("."), "model.layers")
        if self.neuron is None:
            return f"{own}.{name}"
        value, kind = _get_nested(self.neuron, name), self.neuron.get("type")
        others = [other for other in _all_nodes(self.layers) if other.get("type") == kind]
        shared = all(_get_nested(other, name) == value for other in [node, *others])
        return f"neuron.{name}" if shared and node.get("type") == kind else f"{own}.{name}"

    def layer_key(self, layer: str, name: str) -> str:
        """Return the key of a layer's setting, for that layer alone."""
        return f"{_find(self.layers, layer.split('.'), 'model.layers')[0]}.{name}"


def _find(nodes: Node, names: list[str], key: str) -> tuple[str, Node]:
    """Return the key of a layer's node, and the node; layers within blocks have the dotted names of their modules."""
    name, *rest = names
    node, key = nodes.get(name, {}), f"{key}.{name}"
    if not rest:
        return key, node
    if rest[0] == "shortcut" and node.get("shortcut"):
        return _find(node["shortcut"], rest[1:], f"{key}.shortcut")
    if rest[0] in node.get("branches", {}):
        return _find(node["branches"][rest[0]], rest[1:], f"{key}.branches.{rest[0]}")
    if node.get("type") == "repeat":
        rest = rest[1:]  # all copies share one node
    return _find(node.get("layers", {}), rest, f"{key}.layers")


def _all_nodes(nodes: Node) -> list[Node]:
    found: list[Node] = []
    for node in nodes.values():
        inner = [node.get("layers"), node.get("shortcut"), *(node.get("branches") or {}).values()]
        found += [node, *(other for part in inner if isinstance(part, Mapping) for other in _all_nodes(part))]
    return found


def _get_nested(node: Node, name: str) -> Any:
    head, _, rest = name.partition(".")
    value = node.get(head)
    return value if not rest else _get_nested(value, rest) if isinstance(value, Mapping) else None


# Defaults of the packaged neurons, and of most libraries'.
THRESHOLD, WIDTH = 1.0, 0.3
# A threshold this many times higher (or lower) is the likeliest cause of silence (or of saturation).
FAR = 2.0
# A surrogate narrower than this, in thresholds, may be why a layer stays silent in training.
NARROW_WIDTH = 0.05
# The largest change of the weights in a step of the optimizer, as a part of their norm.
MAX_CHANGE = 0.1


def candidate_fixes(finding: Finding, vitals: Vitals, settings: Case) -> Iterator[str]:
    """Yield possible fixes of a finding in the order in which to try them: overrides of one setting each."""
    if finding.kind == "input" and finding.layer:
        yield from _merge_polarities(settings)
    elif finding.kind == "no_memory":
        yield from _longer_time_constants(vitals.layer(finding.layer), vitals, settings)
    elif finding.kind == "silent":
        yield from _more_spikes(vitals.layer(finding.layer), vitals, settings)
    elif finding.kind == "saturated":
        yield from _fewer_spikes(vitals.layer(finding.layer), settings)
    elif finding.kind == "narrow":
        yield from _wider_surrogate(finding.layer, settings)
    elif finding.kind == "rate":
        yield from _other_learning_rates(finding, vitals, settings)


def _merge_polarities(settings: Case) -> Iterator[str]:
    """Yield the override that puts both polarities into one channel."""
    frames = settings.data.get("frames") or "counts"
    if isinstance(frames, str):
        yield f"data.frames={{type: {frames}, merge: true}}"
    else:
        yield "data.frames.merge=true"


def _longer_time_constants(layer: Layer, vitals: Vitals, settings: Case) -> Iterator[str]:
    """Yield time constants of some steps, then steps as short as the time constant."""
    constant = short_time_constant(layer)
    assert constant is not None
    assert vitals.dt is not None
    for steps in (2.0, 5.0, 10.0):
        yield f"{settings.key(layer.name, 'tau_mem')}={_two_digits(steps * vitals.dt)}"
    yield f"data.num_bins={round(vitals.steps / constant.steps)}"


def _more_spikes(layer: Layer, vitals: Vitals, settings: Case) -> Iterator[str]:
    """Yield fixes of unusual settings first, then thresholds that the membranes reach, or larger weights."""
    spiking = layer.spiking
    assert spiking is not None
    if spiking.v_threshold >= FAR * THRESHOLD:
        yield f"{settings.key(layer.name, 'v_threshold')}={_two_digits(THRESHOLD)}"
    if settings.init is not None:
        yield from _larger_weights(vitals, settings)
    if spiking.width < NARROW_WIDTH:
        yield from _wider_surrogate(layer.name, settings)
    if spiking.max_membrane > 0:
        for part in (0.5, 0.25, 0.1):
            threshold = _two_digits(part * spiking.max_membrane * spiking.v_threshold)
            yield f"{settings.layer_key(layer.name, 'v_threshold')}={threshold}"
    if settings.init is None:
        yield from _larger_weights(vitals, settings)


def _larger_weights(vitals: Vitals, settings: Case) -> Iterator[str]:
    """Yield initializations with larger weights."""
    if settings.trained:
        return
    if (kind := _scalable_init(settings)) is not None:
        yield from (f"model.init.{kind.scale}={value}" for value in kind.louder)
    elif settings.init is None:
        rate = "" if vitals.dt is not None else ", per_step: 0.1"
        yield from (f"model.init={{type: fluctuation_driven, xi: {xi}{rate}}}" for xi in FluctuationDriven.louder)


def _scalable_init(settings: Case) -> type[Initialisation] | None:
    """Return the class of the configured initialization if it declares a scale, else None."""
    kind = None if settings.init is None else INITS.get(settings.init.get("type"), "model.init")
    return kind if isinstance(kind, type) and issubclass(kind, Initialisation) and hasattr(kind, "scale") else None


def _fewer_spikes(layer: Layer, settings: Case) -> Iterator[str]:
    """Yield fixes of unusual settings first, then higher thresholds."""
    spiking = layer.spiking
    assert spiking is not None
    if spiking.v_threshold <= THRESHOLD / FAR:
        yield f"{settings.key(layer.name, 'v_threshold')}={_two_digits(THRESHOLD)}"
    if not settings.trained and (kind := _scalable_init(settings)) is not None:
        yield from (f"model.init.{kind.scale}={value}" for value in kind.quieter)
    for times in (3.0, 10.0, 30.0, 100.0, 1000.0):
        yield f"{settings.layer_key(layer.name, 'v_threshold')}={_two_digits(times * spiking.v_threshold)}"


def _wider_surrogate(layer: str, settings: Case) -> Iterator[str]:
    for width in (WIDTH, 0.5, 1.0):
        yield f"{settings.key(layer, 'surrogate.width')}={width}"


def _other_learning_rates(finding: Finding, vitals: Vitals, settings: Case) -> Iterator[str]:
    """Yield a learning rate at which the layer that changes most changes by `MAX_CHANGE`, then a tenth of it."""
    rate, relative_update = settings.optimizer.get("lr"), vitals.layer(finding.layer).relative_update
    if not isinstance(rate, float | int) or relative_update is None:
        return
    for part in (1.0, 0.1):
        yield f"optimizer.lr={_two_digits(rate * part * MAX_CHANGE / max(relative_update, MIN_UPDATE / 1e3))}"


def _two_digits(value: float) -> str:
    """Return a value with at most two digits, as people write settings."""
    return repr(float(f"{value:.1e}"))


class Exam(NamedTuple):
    """A network's statistics, and the settings that it was built with."""

    vitals: Vitals
    settings: Case


class Remedy(NamedTuple):
    """A finding, and the override that fixes it; None if no tried override does."""

    finding: Finding
    override: str | None


class Treatment(NamedTuple):
    """The findings with their fixes in order, and the network after all fixes."""

    remedies: tuple[Remedy, ...]
    after: Exam

    @property
    def overrides(self) -> list[str]:
        """All fixes as overrides, to be used together."""
        return [remedy.override for remedy in self.remedies if remedy.override is not None]


# Measures the network under overrides; returns None if the configuration refuses them.
Measure = Callable[[Sequence[str]], Exam | None]


def treat(exam: Exam, measure_again: Measure) -> Treatment:
    """Fix the first finding, measure again, and go on; a finding that nothing fixes is left.

    Args:
        exam: The network as it is.
        measure_again: Builds the network again with further overrides, and measures it.
    """
    overrides: list[str] = []
    remedies: list[Remedy] = []
    while (finding := _next_finding(exam, remedies)) is not None:
        remedy = Remedy(finding, None)
        for override in candidate_fixes(finding, exam.vitals, exam.settings):
            tried = measure_again([*overrides, override])
            if tried is not None and _is_fixed(finding, exam.vitals, tried.vitals):
                remedy, exam = Remedy(finding, override), tried
                overrides.append(override)
                break
        remedies.append(remedy)
    return Treatment(tuple(remedies), exam)


def _next_finding(exam: Exam, done: Sequence[Remedy]) -> Finding | None:
    """Return the first finding without an attempt to fix it; a finding that comes back is not tried again."""
    tried_before = {(remedy.finding.kind, remedy.finding.layer) for remedy in done}
    return next((found for found in findings(exam.vitals) if (found.kind, found.layer) not in tried_before), None)


def _is_fixed(finding: Finding, before: Vitals, after: Vitals) -> bool:
    """Return whether a finding is gone, without a new one up to its layer; a silent layer has to spike at once."""
    found = findings(after)
    if any(other.kind == finding.kind and (other.layer == finding.layer or other.kind == "rate") for other in found):
        return False
    if finding.kind == "silent" and is_silent(after.layer(finding.layer)):
        return False
    known = {(other.kind, other.layer) for other in findings(before)}
    names = [layer.name for layer in after.layers]
    upto = names[: names.index(finding.layer) + 1] if finding.layer in names else []
    return not any(other.layer in upto and (other.kind, other.layer) not in known for other in found)
