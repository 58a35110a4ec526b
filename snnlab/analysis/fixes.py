"""Fixes of a network's problems: settings, tried one after the other until no problem is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from snnlab.analysis.findings import MIN_UPDATE, Finding, findings, is_silent, short_time_constant
from snnlab.analysis.layer_statistics import LayerStatistics, NetworkStatistics
from snnlab.nn.init import INITS, FluctuationDriven, Initialization

Node = Mapping[str, Any]


class ExperimentSettings(NamedTuple):
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


def candidate_fixes(finding: Finding, statistics: NetworkStatistics, settings: ExperimentSettings) -> Iterator[str]:
    """Yield possible fixes of a finding in the order in which to try them: overrides of one setting each."""
    if finding.kind == "input" and finding.layer:
        yield from _merge_polarities(settings)
    elif finding.kind == "no_memory":
        yield from _longer_time_constants(statistics.layer(finding.layer), statistics, settings)
    elif finding.kind == "silent":
        yield from _more_spikes(statistics.layer(finding.layer), statistics, settings)
    elif finding.kind == "saturated":
        yield from _fewer_spikes(statistics.layer(finding.layer), settings)
    elif finding.kind == "narrow":
        yield from _wider_surrogate(finding.layer, settings)
    elif finding.kind == "gradient":
        yield from _narrower_surrogate(statistics.layer(finding.layer), settings)
    elif finding.kind == "rate":
        yield from _other_learning_rates(finding, statistics, settings)


def _merge_polarities(settings: ExperimentSettings) -> Iterator[str]:
    """Yield the override that puts both polarities into one channel."""
    frames = settings.data.get("representation") or "counts"
    if isinstance(frames, str):
        yield f"data.representation={{type: {frames}, merge: true}}"
    else:
        yield "data.representation.merge=true"


def _longer_time_constants(
    layer: LayerStatistics, statistics: NetworkStatistics, settings: ExperimentSettings
) -> Iterator[str]:
    """Yield time constants of some steps, then steps as short as the time constant."""
    constant = short_time_constant(layer)
    assert constant is not None
    assert statistics.dt is not None
    for steps in (2.0, 5.0, 10.0):
        yield f"{settings.key(layer.name, 'tau_mem')}={_two_digits(steps * statistics.dt)}"
    yield f"data.num_bins={round(statistics.steps / constant.steps)}"


def _more_spikes(layer: LayerStatistics, statistics: NetworkStatistics, settings: ExperimentSettings) -> Iterator[str]:
    """Yield fixes of unusual settings first, then thresholds that the membranes reach, or larger weights."""
    spiking = layer.spiking
    assert spiking is not None
    if spiking.v_threshold >= FAR * THRESHOLD:
        yield f"{settings.key(layer.name, 'v_threshold')}={_two_digits(THRESHOLD)}"
    if settings.init is not None:
        yield from _larger_weights(statistics, settings)
    if spiking.width < NARROW_WIDTH:
        yield from _wider_surrogate(layer.name, settings)
    if spiking.max_membrane > 0:
        for part in (0.5, 0.25, 0.1):
            threshold = _two_digits(part * spiking.max_membrane * spiking.v_threshold)
            yield f"{settings.layer_key(layer.name, 'v_threshold')}={threshold}"
    if settings.init is None:
        yield from _larger_weights(statistics, settings)


def _larger_weights(statistics: NetworkStatistics, settings: ExperimentSettings) -> Iterator[str]:
    """Yield initializations with larger weights."""
    if settings.trained:
        return
    if (kind := _scalable_init(settings)) is not None:
        yield from (f"model.init.{kind.scale_setting}={value}" for value in kind.values_for_dead_layers)
    elif settings.init is None:
        rate = "" if statistics.dt is not None else ", per_step: 0.1"
        yield from (
            f"model.init={{type: fluctuation_driven, xi: {xi}{rate}}}"
            for xi in FluctuationDriven.values_for_dead_layers
        )


def _scalable_init(settings: ExperimentSettings) -> type[Initialization] | None:
    """Return the class of the configured initialization if it declares a scale, else None."""
    kind = None if settings.init is None else INITS.get(settings.init.get("type"), "model.init")
    return (
        kind if isinstance(kind, type) and issubclass(kind, Initialization) and hasattr(kind, "scale_setting") else None
    )


def _fewer_spikes(layer: LayerStatistics, settings: ExperimentSettings) -> Iterator[str]:
    """Yield fixes of unusual settings first, then higher thresholds."""
    spiking = layer.spiking
    assert spiking is not None
    if spiking.v_threshold <= THRESHOLD / FAR:
        yield f"{settings.key(layer.name, 'v_threshold')}={_two_digits(THRESHOLD)}"
    if not settings.trained and (kind := _scalable_init(settings)) is not None:
        yield from (f"model.init.{kind.scale_setting}={value}" for value in kind.values_for_saturated_layers)
    for times in (3.0, 10.0, 30.0, 100.0, 1000.0):
        yield f"{settings.layer_key(layer.name, 'v_threshold')}={_two_digits(times * spiking.v_threshold)}"


def _wider_surrogate(layer: str, settings: ExperimentSettings) -> Iterator[str]:
    for width in (WIDTH, 0.5, 1.0):
        yield f"{settings.key(layer, 'surrogate.width')}={width}"


def _narrower_surrogate(layer: LayerStatistics, settings: ExperimentSettings) -> Iterator[str]:
    if layer.spiking is not None:
        for part in (0.1, 0.01):
            yield f"{settings.key(layer.name, 'surrogate.width')}={_two_digits(part * layer.spiking.width)}"


def _other_learning_rates(
    finding: Finding, statistics: NetworkStatistics, settings: ExperimentSettings
) -> Iterator[str]:
    """Yield a learning rate at which the layer that changes most changes by `MAX_CHANGE`, then a tenth of it."""
    rate, relative_update = settings.optimizer.get("lr"), statistics.layer(finding.layer).relative_update
    if not isinstance(rate, float | int) or relative_update is None:
        return
    for part in (1.0, 0.1):
        yield f"optimizer.lr={_two_digits(rate * part * MAX_CHANGE / max(relative_update, MIN_UPDATE / 1e3))}"


def _two_digits(value: float) -> str:
    """Return a value with at most two digits, as people write settings."""
    return repr(float(f"{value:.1e}"))


class MeasuredNetwork(NamedTuple):
    """A network's statistics, and the settings that it was built with."""

    statistics: NetworkStatistics
    settings: ExperimentSettings


class Fix(NamedTuple):
    """A finding, and the override that fixes it; None if no tried override does."""

    finding: Finding
    override: str | None


class Fixes(NamedTuple):
    """The findings with their fixes in order, and the network after all fixes."""

    tried_fixes: tuple[Fix, ...]
    after: MeasuredNetwork

    @property
    def overrides(self) -> list[str]:
        """All fixes as overrides, to be used together."""
        return [fix.override for fix in self.tried_fixes if fix.override is not None]


# Measures the network under overrides; returns None if the configuration refuses them.
Measure = Callable[[Sequence[str]], MeasuredNetwork | None]


def find_fixes(measured: MeasuredNetwork, measure_again: Measure) -> Fixes:
    """Fix the first finding, measure again, and go on; a finding that nothing fixes is left.

    Args:
        measured: The network as it is.
        measure_again: Builds the network again with further overrides, and measures it.
    """
    overrides: list[str] = []
    tried_fixes: list[Fix] = []
    while (finding := _next_finding(measured, tried_fixes)) is not None:
        fix = Fix(finding, None)
        for override in candidate_fixes(finding, measured.statistics, measured.settings):
            tried = measure_again([*overrides, override])
            if tried is not None and _is_fixed(finding, measured.statistics, tried.statistics):
                fix, measured = Fix(finding, override), tried
                overrides.append(override)
                break
        tried_fixes.append(fix)
    return Fixes(tuple(tried_fixes), measured)


def _next_finding(measured: MeasuredNetwork, done: Sequence[Fix]) -> Finding | None:
    """Return the first finding without an attempt to fix it; a finding that comes back is not tried again."""
    tried_before = {(fix.finding.kind, fix.finding.layer) for fix in done}
    return next(
        (found for found in findings(measured.statistics) if (found.kind, found.layer) not in tried_before), None
    )


def _is_fixed(finding: Finding, before: NetworkStatistics, after: NetworkStatistics) -> bool:
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
