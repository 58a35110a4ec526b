"""Cures that are tried, one after the other, until nothing is found any more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from snnlab.diagnosis.case import Case
from snnlab.diagnosis.cure import candidates
from snnlab.diagnosis.findings import Finding, findings, is_silent
from snnlab.diagnosis.vitals import Vitals


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
