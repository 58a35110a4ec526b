"""Settings that may fix what is wrong, tried one after the other until nothing is found any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from snnlab.analysis.findings import LEAST, Finding, findings, forgotten, is_silent
from snnlab.analysis.layer_statistics import Layer, Vitals
from snnlab.nn.init import INITS, FluctuationDriven, Initialisation

Node = Mapping[str, Any]


class Case(NamedTuple):
    """An experiment's settings.

    Attributes:
        layers: `model.layers`, the neuron put in.
        neuron: The experiment's neuron, or None.
        init: `model.init`, or None.
        trained: Whether the weights are those of a run, which no initialisation sets.
    """

    layers: Node
    neuron: Node | None
    init: Node | None
    data: Node
    optimizer: Node
    trained: bool

    def place(self, layer: str, name: str) -> str:
        """Return the key of a layer's setting: `neuron.NAME` where all spiking layers have it from the neuron."""
        own, node = _find(self.layers, layer.split("."), "model.layers")
        if self.neuron is None:
            return f"{own}.{name}"
        value, kind = _get(self.neuron, name), self.neuron.get("type")
        others = [other for other in _nodes(self.layers) if other.get("type") == kind]
        shared = all(_get(other, name) == value for other in [node, *others])
        return f"neuron.{name}" if shared and node.get("type") == kind else f"{own}.{name}"

    def own_place(self, layer: str, name: str) -> str:
        """Return the key of a layer's setting, for that layer alone."""
        return f"{_find(self.layers, layer.split('.'), 'model.layers')[0]}.{name}"


def _find(nodes: Node, names: list[str], place: str) -> tuple[str, Node]:
    """Return where a layer's node stands, and the node; layers within blocks by the names of their modules."""
    name, *rest = names
    node, place = nodes.get(name, {}), f"{place}.{name}"
    if not rest:
        return place, node
    if rest[0] == "shortcut" and node.get("shortcut"):
        return _find(node["shortcut"], rest[1:], f"{place}.shortcut")
    if rest[0] in node.get("branches", {}):
        return _find(node["branches"][rest[0]], rest[1:], f"{place}.branches.{rest[0]}")
    if node.get("type") == "repeat":
        rest = rest[1:]  # its copies have one node
    return _find(node.get("layers", {}), rest, f"{place}.layers")


def _nodes(nodes: Node) -> list[Node]:
    found: list[Node] = []
    for node in nodes.values():
        inner = [node.get("layers"), node.get("shortcut"), *(node.get("branches") or {}).values()]
        found += [node, *(other for part in inner if isinstance(part, Mapping) for other in _nodes(part))]
    return found


def _get(node: Node, name: str) -> Any:
    head, _, rest = name.partition(".")
    value = node.get(head)
    return value if not rest else _get(value, rest) if isinstance(value, Mapping) else None


# What the packaged neurons have, and most libraries'.
THRESHOLD, WIDTH = 1.0, 0.3
# A threshold this many times higher (or lower) than that is the likeliest cause of silence (or of saturation).
FAR = 2.0
# A surrogate narrower than this, in thresholds, may be why training does not wake a layer.
THIN = 0.05
# What a step of the optimizer should change of the weights at the most, as a part of their norm.
CHANGE = 0.1


def candidates(finding: Finding, vitals: Vitals, case: Case) -> Iterator[str]:
    """Yield overrides of one setting each, to be tried in this order."""
    if finding.kind == "input" and finding.layer:
        yield from _merged(case)
    elif finding.kind == "forgetful":
        yield from _remembering(vitals.layer(finding.layer), vitals, case)
    elif finding.kind == "silent":
        yield from _louder(vitals.layer(finding.layer), vitals, case)
    elif finding.kind == "saturated":
        yield from _quieter(vitals.layer(finding.layer), case)
    elif finding.kind == "narrow":
        yield from _wider(finding.layer, case)
    elif finding.kind == "rate":
        yield from _slower(finding, vitals, case)


def _merged(case: Case) -> Iterator[str]:
    """Both polarities in one channel, for the frames that can."""
    frames = case.data.get("frames") or "counts"
    if isinstance(frames, str):
        yield f"data.frames={{type: {frames}, merge: true}}"
    else:
        yield "data.frames.merge=true"


def _remembering(layer: Layer, vitals: Vitals, case: Case) -> Iterator[str]:
    """A membrane of some steps; else steps as short as the membrane."""
    constant = forgotten(layer)
    assert constant is not None
    assert vitals.dt is not None
    for steps in (2.0, 5.0, 10.0):
        yield f"{case.place(layer.name, 'tau_mem')}={_short(steps * vitals.dt)}"
    yield f"data.num_bins={round(vitals.steps / constant.steps)}"


def _louder(layer: Layer, vitals: Vitals, case: Case) -> Iterator[str]:
    """What is out of the ordinary first; then a threshold that the membranes reach, or weights that reach it."""
    of = layer.spiking
    assert of is not None
    if of.v_threshold >= FAR * THRESHOLD:
        yield f"{case.place(layer.name, 'v_threshold')}={_short(THRESHOLD)}"
    if case.init is not None:
        yield from _weights(vitals, case)
    if of.width < THIN:
        yield from _wider(layer.name, case)
    if of.reach > 0:
        for part in (0.5, 0.25, 0.1):
            yield f"{case.own_place(layer.name, 'v_threshold')}={_short(part * of.reach * of.v_threshold)}"
    if case.init is None:
        yield from _weights(vitals, case)


def _weights(vitals: Vitals, case: Case) -> Iterator[str]:
    """First weights as large as the neurons need."""
    if case.trained:
        return
    if (kind := _init(case)) is not None:
        yield from (f"model.init.{kind.scale}={value}" for value in kind.louder)
    elif case.init is None:
        rate = "" if vitals.dt is not None else ", per_step: 0.1"
        yield from (f"model.init={{type: fluctuation_driven, xi: {xi}{rate}}}" for xi in FluctuationDriven.louder)


def _init(case: Case) -> type[Initialisation] | None:
    """Return the initialisation that is asked for, where it says how its weights become larger."""
    kind = None if case.init is None else INITS.get(case.init.get("type"), "model.init")
    return kind if isinstance(kind, type) and issubclass(kind, Initialisation) and hasattr(kind, "scale") else None


def _quieter(layer: Layer, case: Case) -> Iterator[str]:
    """What is out of the ordinary first; then higher thresholds."""
    of = layer.spiking
    assert of is not None
    if of.v_threshold <= THRESHOLD / FAR:
        yield f"{case.place(layer.name, 'v_threshold')}={_short(THRESHOLD)}"
    if not case.trained and (kind := _init(case)) is not None:
        yield from (f"model.init.{kind.scale}={value}" for value in kind.quieter)
    for times in (3.0, 10.0, 30.0, 100.0, 1000.0):
        yield f"{case.own_place(layer.name, 'v_threshold')}={_short(times * of.v_threshold)}"


def _wider(layer: str, case: Case) -> Iterator[str]:
    for width in (WIDTH, 0.5, 1.0):
        yield f"{case.place(layer, 'surrogate.width')}={width}"


def _slower(finding: Finding, vitals: Vitals, case: Case) -> Iterator[str]:
    """A rate at which the layer that changes most changes by `CHANGE`."""
    rate, update = case.optimizer.get("lr"), vitals.layer(finding.layer).update
    if not isinstance(rate, float | int) or update is None:
        return
    for part in (1.0, 0.1):
        yield f"optimizer.lr={_short(rate * part * CHANGE / max(update, LEAST / 1e3))}"


def _short(value: float) -> str:
    """Return a value in two digits at most, which is how people give settings."""
    return repr(float(f"{value:.1e}"))


class Exam(NamedTuple):
    """A network's vitals, and the settings that it was built with."""

    vitals: Vitals
    case: Case


class Remedy(NamedTuple):
    """A finding, and the override that was tried and cures it; None where none of those tried does."""

    finding: Finding
    override: str | None


class Treatment(NamedTuple):
    """What was found and cured in turn, and the network after it."""

    remedies: tuple[Remedy, ...]
    after: Exam

    @property
    def overrides(self) -> list[str]:
        """The overrides that go together."""
        return [remedy.override for remedy in self.remedies if remedy.override is not None]


# From overrides to the network's exam under them; None where they cannot be used.
Examine = Callable[[Sequence[str]], Exam | None]


def treat(exam: Exam, examine: Examine) -> Treatment:
    """Cure the first finding, look again, and go on; a finding that nothing cures is left.

    Args:
        exam: The network as it is.
        examine: Builds it again with further overrides, and looks.
    """
    overrides: list[str] = []
    remedies: list[Remedy] = []
    while (finding := _next(exam, remedies)) is not None:
        remedy = Remedy(finding, None)
        for override in candidates(finding, exam.vitals, exam.case):
            tried = examine([*overrides, override])
            if tried is not None and _cures(finding, exam.vitals, tried.vitals):
                remedy, exam = Remedy(finding, override), tried
                overrides.append(override)
                break
        remedies.append(remedy)
    return Treatment(tuple(remedies), exam)


def _next(exam: Exam, done: Sequence[Remedy]) -> Finding | None:
    """Return the first finding that has not been treated; one that comes back was not cured by what cured it."""
    treated = {(remedy.finding.kind, remedy.finding.layer) for remedy in done}
    return next((found for found in findings(exam.vitals) if (found.kind, found.layer) not in treated), None)


def _cures(finding: Finding, before: Vitals, after: Vitals) -> bool:
    """Return whether a finding is gone, and no other has come up to its layer; a silent layer has to spike at once."""
    found = findings(after)
    if any(other.kind == finding.kind and (other.layer == finding.layer or other.kind == "rate") for other in found):
        return False
    if finding.kind == "silent" and is_silent(after.layer(finding.layer)):
        return False
    known = {(other.kind, other.layer) for other in findings(before)}
    names = [layer.name for layer in after.layers]
    upto = names[: names.index(finding.layer) + 1] if finding.layer in names else []
    return not any(other.layer in upto and (other.kind, other.layer) not in known for other in found)
