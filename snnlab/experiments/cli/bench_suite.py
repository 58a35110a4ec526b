"""`snnlab bench suite=NAME`: trains methods on datasets with seeds and controls; it resumes and runs in parallel."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from snnlab.cli.kinds import registry
from snnlab.cli.report import write_report
from snnlab.config.compose import compose_experiment
from snnlab.config.folders import description, group_files, user_folder
from snnlab.config.merging import merge_overrides
from snnlab.config.recorded_run import CHANGEABLE_ON_RESUME
from snnlab.console import say, until_pipe_closes
from snnlab.errors import (
    ConfigError,
    MissingPackageError,
    SnnlabError,
    UnsetError,
    join_names,
    one_line,
)
from snnlab.experiments.executor import executor
from snnlab.experiments.session.experiment_files import SuiteRequest, read_suite_request
from snnlab.experiments.suite_plan import FILE_SETTINGS, RunSpec, SuiteFunctions, SuitePlan, keys_set_by_methods
from snnlab.experiments.suite_reading import read_suite_yaml
from snnlab.experiments.suite_runner import SuiteRunner, tuning_plan
from snnlab.experiments.suite_settings import Suite, SuiteSelection, check_overrides, parse_settings
from snnlab.experiments.suite_state import (
    SuiteState,
    is_begun,
    load_suite_state,
    make_suite_folder,
    require_same_settings,
    unite_suite,
    write_suite_yaml,
)
from snnlab.experiments.suite_table import TABLE, print_table, write_tables
from snnlab.runs.run_folder import locked
from snnlab.runs.statistics import MIN_SEEDS
from snnlab.runs.tables import format_duration
from snnlab.spec.override_texts import key_of
from snnlab.spec.signatures import has_parameter

_log = logging.getLogger(__name__)

# Settings with which published runs can be evaluated elsewhere.
_FILES_OF_RECORDINGS = (*FILE_SETTINGS, "data.store_dir")


def print_suites(config_dir: str | Path | None = None) -> None:
    """Print the available suites, a line each."""
    files = group_files("suite", user_folder(config_dir))
    width = max(map(len, files), default=0)
    with until_pipe_closes():
        for name, path in files.items():
            print(f"suite={name:{width}}  {description(path)}")
        print("\nsnnlab bench suite=NAME --dry-run prints the planned trainings; snnlab bench --help describes bench")


def suite(
    *overrides: str, config_dir: str | Path | None = None, started: float | None = None, command: str | None = None
) -> Path:
    """Run the missing trainings of a suite, and return its folder.

    Args:
        overrides: As on the command line.
        config_dir: The user's folder of YAML files.
        started: `time.perf_counter()` when the command began.
    """
    start = time.perf_counter() if started is None else started
    wanted = read_bench_request(list(overrides), config_dir)
    command_line = command or shlex.join(["snnlab", "bench", *overrides])
    first, specs = plan_suite(wanted, command_line)
    if not is_begun(wanted.folder):  # checked before the folder is made
        _require_builds(first, specs)
    make_suite_folder(wanted.folder)
    with locked(wanted.folder):
        plan, specs = plan_suite(wanted, command_line)  # again under the lock: another command may have added to it
        write_suite_yaml(plan)
        state = _run_missing(plan, specs, start)
    _print_summary(plan, specs, state)
    return plan.folder


def preview(*overrides: str, config_dir: str | Path | None = None, command: str = "") -> None:
    """Print the planned trainings of a suite, which are done, and which methods do not build; nothing is written."""
    plan, specs = plan_suite(read_bench_request(list(overrides), config_dir), command)
    state = load_suite_state(plan.folder, specs)
    print(f"{plan.name}: {len(specs)} trainings in {plan.folder}")
    for dataset in dict.fromkeys(spec.dataset for spec in specs):
        print(dataset)
        of_dataset = [spec for spec in specs if spec.dataset == dataset]
        for control, method in dict.fromkeys((spec.control, spec.method) for spec in of_dataset):
            group = [spec for spec in of_dataset if (spec.control, spec.method) == (control, method)]
            name = f"{control} of {method}" if control else method
            done = state.count("completed", group)
            print(f"  {name}: {done} of {len(group)} done{_failures_text(state, group)}", flush=True)
    missing = [spec for spec in specs if state.states[spec].status != "completed"]
    wrong = 0
    for dataset, method in dict.fromkeys((spec.dataset, spec.method) for spec in missing):
        if problem := _build_error(plan, dataset, method):
            wrong += 1
            print(f"{method} on {dataset}: {one_line(problem)}", flush=True)
    if missing and not wrong:
        print("all missing trainings build")
    if len(plan.suite.seeds) < MIN_SEEDS:
        print(f"{len(plan.suite.seeds)} seeds: no verdict on differences, which takes {MIN_SEEDS}")


def check(folder: Path, words: Sequence[str]) -> int:
    """Print how the runs of suites compare with their evaluation, and return the exit status."""
    overrides = [word for word in words if "=" in word]
    rows = [word for word in words if "=" not in word]
    for text in overrides:
        if key_of(text) not in _FILES_OF_RECORDINGS:
            raise ConfigError(text, "is no setting of files of recordings", allowed=_FILES_OF_RECORDINGS)
    wrong = number = left_out = tables = 0
    with until_pipe_closes():
        for name, differs, text in _import_session()[1].check_suites(folder, rows, overrides):
            number, wrong, tables = number + 1, wrong + bool(differs), tables + name.endswith(TABLE)
            left_out += not differs and text.startswith("NOT EVALUATED")
            more = f"; {len(differs) - 3} more" if len(differs) > 3 else ""
            say(f"{name}: DIFFERS: {'; '.join(differs[:3])}{more}" if differs else f"{name}: {text}")
        more = f"; {left_out} not evaluated" if left_out else ""
        print(f"{number - wrong} of {number} runs and tables are as recorded{more}")
    return 1 if wrong or left_out == number - tables else 0


def _require_builds(plan: SuitePlan, specs: list[RunSpec]) -> None:
    """Compose every method on every dataset, and build them until one builds."""
    pairs = list(dict.fromkeys((spec.dataset, spec.method) for spec in specs))
    for dataset, method in pairs:
        try:
            compose_experiment(
                merge_overrides(plan.method_overrides(dataset, method), plan.config_dir), plan.config_dir
            )
        except (UnsetError, MissingPackageError):
            continue  # a gap in the table, reported with that dataset
        except ConfigError as error:
            raise error.with_fields(place=f"{method} on {dataset}: {error.place}") from error
    problems = (_build_error(plan, *pair) for pair in pairs)
    first = next(problems)
    if first is not None and all(problems):
        raise first


# Imported late: they bring Lightning, which takes three seconds.
def _import_session():
    from snnlab.experiments.session import suite_check, trial

    return trial, suite_check


def _build_error(plan: SuitePlan, dataset: str, method: str) -> SnnlabError | None:
    try:
        _import_session()[0].check_method(plan, dataset, method)
    except SnnlabError as error:
        return error
    return None


def _failures_text(state: SuiteState, specs: list[RunSpec]) -> str:
    number = state.count("failed", specs)
    return f", {number} failed" if number else ""


class BenchRequest(NamedTuple):
    """The request of a command line.

    Attributes:
        user_dir: The user's folder of YAML files.
    """

    request: SuiteRequest
    suite: Suite
    user_dir: Path | None
    folder: Path


def read_bench_request(overrides: list[str], config_dir: str | Path | None) -> BenchRequest:
    """Return the request of a command line; its folder is not read."""
    user_dir = user_folder(config_dir)
    request = read_suite_request(overrides, user_dir)
    settings = parse_settings(request.settings)
    check_overrides(request.typed, "bench")
    _check_typed(settings, request.choice, request.typed)
    folder = Path(settings.folder or f"outputs/suite_{request.name}").expanduser().absolute()
    return BenchRequest(request, settings, user_dir, folder)


def plan_suite(wanted: BenchRequest, command: str) -> tuple[SuitePlan, list[RunSpec]]:
    """Return a suite, united with the content of its folder, and the requested trainings."""
    request, settings, user_dir, folder = wanted
    content = read_suite_yaml(folder) if is_begun(folder) else None
    suite_ = unite_suite(settings, request.choice, content)
    user_dir_text = None if user_dir is None else str(user_dir)
    simulated = (
        _datasets_without_files(suite_, user_dir)
        if {key_of(text) for text in request.typed} & set(FILE_SETTINGS)
        else frozenset()
    )
    plan = SuitePlan(folder, request.name, suite_, request.typed, user_dir_text, str(Path.cwd()), command, simulated)
    if content is not None:
        require_same_settings(plan, content, set(CHANGEABLE_ON_RESUME) - {"trainer.max_epochs"})
    # Methods and datasets that only the folder has are kept, and not trained by this command.
    chosen = request.choice.methods or list(settings.methods), request.choice.datasets or list(settings.datasets)
    specs = plan.run_specs(SuiteSelection(*chosen), settings.seeds)
    if not specs:
        where = {name: settings.methods[name].datasets or list(settings.datasets) for name in chosen[0]}
        fix = "; ".join(f"{name} has the datasets {', '.join(datasets)}" for name, datasets in where.items())
        raise ConfigError("datasets", "none of these methods is trained on these datasets", fix)
    for dataset, method in dict.fromkeys((spec.dataset, spec.method) for spec in specs):
        if suite_.tuning_settings(method) is not None:
            tuning_plan(plan, dataset, method, partial(merge_overrides, config_dir=plan.config_dir))
    return plan, specs


def _datasets_without_files(suite_: Suite, user_dir: Path | None) -> frozenset[str]:
    """Return the datasets of a suite that read no files; one that cannot be composed is reported later."""
    found = set()
    for name, overrides in suite_.datasets.items():
        try:
            kind = compose_experiment(list(overrides), user_dir)[0].data.get("type")
        except SnnlabError:
            continue
        datasets = registry("datasets")
        if kind in datasets and not has_parameter(datasets.get(kind, "data"), "root"):
            found.add(name)
    return frozenset(found)


def _check_typed(suite_: Suite, choice: SuiteSelection, typed: list[str]) -> None:
    """Refuse overrides that all methods set themselves, and warn of those that some methods set."""
    keys = keys_set_by_methods(suite_, choice)
    number = len(choice.methods or suite_.methods)
    for text in typed:
        if key_of(text) in ("data", "experiment"):
            names = join_names(suite_.datasets)
            raise ConfigError(text, f"a suite has its own datasets, {names}", "datasets=[...] chooses among them")
        methods = keys.get(key_of(text), [])
        if methods and len(methods) == number:
            raise ConfigError(
                text, f"each method sets {key_of(text)} itself", f"methods=[{methods[0]}] chooses among them"
            )
        if methods:
            _log.warning("%s does not apply to %s, which set it themselves", text, join_names(methods))


def _run_missing(plan: SuitePlan, specs: list[RunSpec], started: float) -> SuiteState:
    state = load_suite_state(plan.folder, plan.run_specs())
    trial = _import_session()[0]
    work, tables = (
        SuiteFunctions(trial.preflight, partial(merge_overrides, config_dir=plan.config_dir)),
        partial(write_tables, plan.folder),
    )
    with executor(plan.suite, plan.folder, trial.train_task) as workers:
        runner = SuiteRunner(plan, specs, state, work, workers, started, tables)
        runner.run()
    if runner.trained and state.count("completed"):
        write_report(plan.folder)
        state.spent = runner.timer.spent()
        state.write()
    return state


def _print_summary(plan: SuitePlan, specs: list[RunSpec], state: SuiteState) -> None:
    done, failed, missing = (state.count(status, specs) for status in ("completed", "failed", "missing"))
    spent = state.spent
    with until_pipe_closes():
        if state.count("completed"):
            print_table(plan.folder)
        for dataset, error in dict.fromkeys((c.dataset, s.error) for c, s in state.states.items() if s.error):
            say(f"{dataset}: {error}")
        print(
            f"{done} of {len(specs)} trainings are done, {failed} failed, {missing} are missing;"
            f" {format_duration(spent.trainings_s)} of training, {format_duration(spent.overhead_s)} of overhead"
        )
        print(plan.folder)
    if not done:
        raise ConfigError("bench", "no training was completed", "the errors are in suite.json")
