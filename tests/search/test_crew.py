"""Slots, lost workers and shared devices, with an engine that runs nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from snnlab.search.crew import TRIES, Crew, Ended
from snnlab.search.engines import WorkerLostError
from snnlab.search.task import Outcome, Rehearsal, Task, Work

Answer = Outcome | WorkerLostError | None


def outcome(status: Any = "completed", error: str | None = None) -> Outcome:
    return Outcome(status=status, error=error, metrics={}, fit_s=0.0, wall_s=0.0, epochs=1, val_size=1)


class Scripted:
    """An engine that gives what a function says to a task's n-th try; None: it never ends."""

    def __init__(self, answers: Callable[[Task, int], Answer]) -> None:
        self._answers = answers
        self.given: list[tuple[int, Task]] = []

    def submit(self, slot: int, function: Callable[..., Any], *arguments: Any) -> Any:
        (task,) = arguments
        tries = sum(task.folder == other.folder for _, other in self.given)
        self.given.append((slot, task))
        return _Handle(self._answers(task, tries))

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Handle:
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def done(self) -> bool:
        return self._answer is not None

    def result(self) -> Any:
        if isinstance(self._answer, WorkerLostError):
            raise self._answer
        return self._answer


def crew(engine: Scripted, workers: int = 2, devices: int = 0) -> Crew:
    return Crew(engine, Work(lambda _: outcome(), lambda *_: Rehearsal()), workers, devices)


def tasks(number: int) -> dict[int, Task]:
    return {k: Task(f"run_{k}", ["a=1"], None, ".") for k in range(number)}


def ended_of(engine: Scripted, number: int = 1) -> tuple[Crew, list[Ended]]:
    ended: list[Ended] = []
    one = crew(engine)
    one.run(tasks(number), ended.append)
    return one, ended


def test_gpus_are_shared_out_by_slot():
    engine = Scripted(lambda task, tries: None)
    four = crew(engine, workers=4, devices=2)
    for key, task in tasks(4).items():
        four.start(key, task)
    assert not four.free
    shared = [task.overrides for _, task in engine.given]
    assert shared == [["a=1", f"trainer.devices=[{device}]"] for device in (0, 1, 0, 1)]


def test_one_gpu_or_none_is_nothing_to_share():
    engine = Scripted(lambda task, tries: None)
    crew(engine, devices=1).start(0, tasks(1)[0])
    assert engine.given[0][1].overrides == ["a=1"]


def test_a_task_whose_worker_was_killed_is_tried_again():
    engine = Scripted(lambda task, tries: WorkerLostError("SIGKILL") if tries < TRIES - 1 else outcome())
    _, ended = ended_of(engine)
    assert [one.outcome["status"] for one in ended] == ["completed"]
    assert len(engine.given) == TRIES


def test_one_whose_worker_dies_again_and_again_fails_and_the_others_go_on():
    engine = Scripted(lambda task, tries: WorkerLostError("SIGKILL") if task.folder == "run_0" else outcome())
    _, ended = ended_of(engine, 3)
    states = {one.key: one.outcome["status"] for one in ended}
    assert states == {0: "failed", 1: "completed", 2: "completed"}
    (failed,) = [one.outcome["error"] for one in ended if one.key == 0]
    assert failed == f"its process died {TRIES} times: killed, or out of memory (SIGKILL)"


def test_what_every_task_would_meet_ends_the_crew():
    engine = Scripted(lambda task, tries: outcome("stopped", "no space left on device"))
    one, ended = ended_of(engine, 5)
    assert one.trouble == "no space left on device"
    assert not ended
    assert len(engine.given) == 2
