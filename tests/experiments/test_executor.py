"""Slots, lost workers and shared devices, with workers that run nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from typing import Any

from snnlab.experiments.executor import MAX_TRIES, Executor, FinishedTask, WorkerLostError
from snnlab.experiments.workers import Outcome, RunTask, Worker

from ..refusals import assert_raises, assert_text_has

Answer = Outcome | BrokenExecutor | None


def outcome(status: Any = "completed", error: str | None = None) -> Outcome:
    return Outcome(status=status, error=error, metrics={}, fit_s=0.0, wall_s=0.0, epochs=1, val_size=1)


class Scripted:
    """Makes workers that return a function's result for a task's n-th try; None: it never ends."""

    def __init__(self, answers: Callable[[RunTask, int], Answer]) -> None:
        self._answers = answers
        self.given: list[RunTask] = []
        self.made: list[ScriptedWorker] = []

    def __call__(self) -> Worker:
        self.made.append(ScriptedWorker(self))
        return self.made[-1]

    def answer(self, task: RunTask) -> Answer:
        tries = sum(task.folder == other.folder for other in self.given)
        self.given.append(task)
        return self._answers(task, tries)


class ScriptedWorker(Worker):
    def __init__(self, script: Scripted) -> None:
        self._script = script
        self.killed = self.closed = False

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        if self.killed:
            raise BrokenExecutor("SIGKILL")
        answer = self._script.answer(*arguments)
        future: Future[Any] = Future()
        if isinstance(answer, BrokenExecutor):
            self.killed = True
            future.set_exception(answer)
        elif answer is not None:
            future.set_result(answer)
        return future

    def close(self) -> None:
        self.closed = True


def executor(script: Scripted, slots: int = 2, devices: int = 0) -> Executor:
    return Executor(script, lambda _: outcome(), slots, devices)


def tasks(number: int) -> dict[int, RunTask]:
    return {k: RunTask(f"run_{k}", ["a=1"], None, ".") for k in range(number)}


def ended_of(script: Scripted, number: int = 1) -> tuple[Executor, list[FinishedTask]]:
    ended: list[FinishedTask] = []
    one = executor(script)
    one.run_all(tasks(number), ended.append)
    return one, ended


def test_gpus_are_shared_out_by_slot():
    script = Scripted(lambda task, tries: None)
    four = executor(script, slots=4, devices=2)
    for key, task in tasks(4).items():
        four.start(key, task)
    assert not four.has_free_slot
    assert [task.overrides for task in script.given] == [["a=1", f"trainer.devices=[{k}]"] for k in (0, 1, 0, 1)]


def test_one_gpu_or_none_is_nothing_to_share():
    script = Scripted(lambda task, tries: None)
    executor(script, devices=1).start(0, tasks(1)[0])
    assert script.given[0].overrides == ["a=1"]


def test_a_task_whose_worker_was_killed_is_tried_again():
    script = Scripted(lambda task, tries: BrokenExecutor("SIGKILL") if tries < MAX_TRIES - 1 else outcome())
    _, ended = ended_of(script)
    assert [one.outcome["status"] for one in ended] == ["completed"]
    assert (len(script.given), len(script.made)) == (MAX_TRIES, MAX_TRIES)


def test_a_task_whose_worker_dies_repeatedly_fails_and_the_others_continue():
    script = Scripted(lambda task, tries: BrokenExecutor("SIGKILL") if task.folder == "run_0" else outcome())
    _, ended = ended_of(script, 3)
    states = {one.key: one.outcome["status"] for one in ended}
    assert states == {0: "failed", 1: "completed", 2: "completed"}
    (failed,) = [one.outcome["error"] for one in ended if one.key == 0]
    assert_text_has(failed, f"died {MAX_TRIES} times", "SIGKILL")


def test_a_worker_that_dies_between_two_tasks_is_replaced_and_costs_none_of_them():
    script = Scripted(lambda task, tries: outcome())
    one, ended = executor(script, slots=1), []

    def killed_after(task: FinishedTask) -> None:
        ended.append(task)
        script.made[-1].killed = True

    one.run_all(tasks(3), killed_after)
    assert [task.outcome["status"] for task in ended] == ["completed"] * 3
    assert len(script.given) == len(script.made) == 3
    assert [worker.closed for worker in script.made] == [True, True, False]


def test_a_call_whose_worker_died_raises():
    script = Scripted(lambda task, tries: BrokenExecutor("SIGKILL"))
    with assert_raises(WorkerLostError, "", "SIGKILL"):
        executor(script).call(len, tasks(1)[0])
    assert script.made[0].closed


def test_an_error_that_every_task_would_have_ends_all():
    script = Scripted(lambda task, tries: outcome("stopped", "no space left on device"))
    one, ended = ended_of(script, 5)
    assert_text_has(one.fatal_error, "space")
    assert not ended
    assert len(script.given) == 2
