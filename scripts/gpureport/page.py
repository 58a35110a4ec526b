"""The page of a machine with a GPU, made from its record."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

OUTCOMES = ("passed", "failed", "skipped", "not run")
# The test of `tests/kernels/test_gpu.py` that runs for each neuron; an id is `name-fixed` or `name-learned`.
BY_NEURON = "test_compiled_every_preset_equals_the_plain_loop"
OURS = "snnlab"
MOST_FAILURES = 20


class Verdict(NamedTuple):
    """A verdict at the top of the page: whether it passed, and a sentence of details."""

    passed: bool
    text: str


def page(report: dict[str, Any]) -> str:
    """Return the page in Markdown.

    Args:
        report: `about`: machine and versions; `tests`: outcome by the id of each collected test; `bench`: by the name
            of a library's kernels the `bench_step.json` of a run that includes snnlab; `notes`: skipped parts, with
            reasons; `minutes`: duration; `rehearsal`: whether it ran on a CPU as a test of the script.
    """
    about, tests = report["about"], report["tests"]
    git = about.get("git") or {}
    commit = f"{git.get('commit', 'unknown')}{' with changes' if git.get('dirty') else ''}"
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items() if number)
    verdicts = [
        f"- **{'pass' if verdict.passed else 'FAIL'}**: {verdict.text}"
        for verdict in (tests_verdict(tests), speed_verdict(report["bench"]))
    ]
    if report.get("rehearsal"):
        verdicts = ["- **No verdict**: a rehearsal of the script on a CPU; nothing here was run on a GPU."]
    return "\n".join(
        [
            "# snnlab on a GPU",
            "",
            f"{about['machine']}, {about['date']}, commit {commit}, {report['minutes']:.0f} minutes. {versions}.",
            "",
            *verdicts,
            *(f"- {note}" for note in report["notes"]),
            "",
            "## Every neuron: Triton against the plain loop, on the device",
            "",
            *neurons_table(tests),
            "",
            *other_tests(tests),
            "",
            "## A training step",
            "",
            *bench_tables(report["bench"]),
            "",
            "![a training step](report.png)",
            "",
        ]
    )


def tests_verdict(tests: dict[str, str]) -> Verdict:
    """Return the verdict on whether every test ran and passed."""
    counts = Counter(tests.values())
    counts_text = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome]) or "none"
    return Verdict(bool(tests) and not counts["failed"] and not counts["not run"], f"tests on the GPU: {counts_text}")


def speed_verdict(bench: dict[str, Any]) -> Verdict:
    """Return the verdict on whether snnlab is faster than every library's kernels in every size."""
    ratios = [
        (methods[name]["median_ms"] / methods[OURS]["median_ms"], f"{label} at {title}")
        for label, found in bench.items()
        for title, methods in cases(found)
        for name in libraries(methods)
    ]
    if not ratios:
        return Verdict(False, "a training step: no library was timed")
    smallest, where = min(ratios)
    text = f"the fastest library takes {smallest:.2f} times snnlab's time ({where}); runs of the bench: {len(bench)}"
    return Verdict(smallest >= 1.0, f"a training step: {text}")


def cases(found: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return title and methods of each size that was timed with snnlab."""
    return [(case["title"], case["methods"]) for case in found["cases"] if OURS in case["methods"]]


def libraries(methods: dict[str, Any]) -> list[str]:
    """Return the methods that are other libraries."""
    return [name for name in methods if name.startswith(("spikingjelly", "snntorch", "norse", "sinabs"))]


def neurons_table(tests: dict[str, str]) -> list[str]:
    """Return a row for each neuron."""
    rows: dict[str, dict[str, str]] = {}
    for test, outcome in tests.items():
        if f"::{BY_NEURON}[" in test:
            name, _, kind = test.partition("[")[2].rstrip("]").rpartition("-")
            rows.setdefault(name, {})[kind] = outcome
    if not rows:
        return ["None ran."]
    return [
        "| neuron | fixed coefficients | learned, of each neuron |",
        "|---|---|---|",
        *(
            f"| {name} | {found.get('fixed', '-')} | {found.get('learned', '-')} |"
            for name, found in sorted(rows.items())
        ),
        "",
        "Outputs, states and counts bit for bit, gradients within 1e-4 (float32) and 1e-9 (float64) of the largest,"
        " with samples of equal and of different lengths.",
    ]


def other_tests(tests: dict[str, str]) -> list[str]:
    """Return a row for each other test function, and the first failures."""
    counts: dict[str, Counter[str]] = {}
    for test, outcome in tests.items():
        if f"::{BY_NEURON}[" not in test:
            counts.setdefault(test.partition("::")[2].partition("[")[0], Counter())[outcome] += 1
    lines = [f"| test | {' | '.join(OUTCOMES)} |", "|---|" + "---:|" * len(OUTCOMES)]
    for name, found in sorted(counts.items()):
        lines.append(f"| {name} | {' | '.join(str(found[outcome]) for outcome in OUTCOMES)} |")
    failed = [test for test, outcome in tests.items() if outcome == "failed"]
    more = [f"- and {len(failed) - MOST_FAILURES} more"] if len(failed) > MOST_FAILURES else []
    return [
        *lines,
        *(["", "Failed:", ""] if failed else []),
        *(f"- `{test}`" for test in failed[:MOST_FAILURES]),
        *more,
    ]


def bench_tables(bench: dict[str, Any]) -> list[str]:
    """Return a table for each run; its ratios are to snnlab in the same run."""
    lines: list[str] = []
    for label, found in bench.items():
        lines += [
            "",
            f"{label}:",
            "",
            "| size | method | ms | x snnlab | peak memory, MB |",
            "|---|---|---:|---:|---:|",
        ]
        for title, methods in cases(found):
            snnlab_ms = methods[OURS]["median_ms"]
            for name, method in sorted(methods.items(), key=lambda item: item[1]["median_ms"]):
                memory = "-" if method["peak_mb"] is None else f"{method['peak_mb']:.0f}"
                ms = method["median_ms"]
                lines.append(f"| {title} | {name} | {ms:.2f} | {ms / snnlab_ms:.2f} | {memory} |")
    return lines[1:] or ["Nothing was timed."]


def joined_cases(bench: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the cases with the methods of all runs, for one figure; a repeated method has its first times."""
    joined: dict[str, dict[str, Any]] = {}
    for found in bench.values():
        for case in found["cases"]:
            known = joined.setdefault(case["title"], {"title": case["title"], "methods": {}})
            known["methods"] = case["methods"] | known["methods"]
    return list(joined.values())
