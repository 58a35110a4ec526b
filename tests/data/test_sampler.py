from __future__ import annotations

import numpy as np
import pytest

from snnlab.data.data_module import BatchSampler

from ..refusals import assert_raises

INDICES = np.array([40, 3, 17, 8, 25, 1, 30])


def _epoch(sampler: BatchSampler, epoch: int) -> list[int]:
    sampler.set_epoch(epoch)
    draws = list(sampler)
    assert {draw.epoch for draw in draws} == {epoch}
    return np.concatenate([draw.indices for draw in draws]).tolist()


def test_another_epoch_or_seed_has_another_order() -> None:
    orders = {tuple(_epoch(BatchSampler(INDICES, 2, seed), epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_the_batch_size_does_not_change_the_order() -> None:
    assert _epoch(BatchSampler(INDICES, 2, 1), 4) == _epoch(BatchSampler(INDICES, 5, 1), 4)


def test_every_recording_comes_once_and_the_last_batch_is_what_is_left() -> None:
    for seed in (0, None):
        sampler = BatchSampler(INDICES, 3, seed)
        batches = [draw.indices for draw in sampler]
        assert [batch.size for batch in batches] == [3, 3, 1]
        assert len(sampler) == 3
        assert sorted(np.concatenate(batches).tolist()) == sorted(INDICES.tolist())


def test_full_batches_have_no_empty_one_after_them() -> None:
    sampler = BatchSampler(INDICES[:6], 3, 0)
    assert len(sampler) == len(list(sampler)) == 2
    assert len(BatchSampler(INDICES[:0], 3, 0)) == len(list(BatchSampler(INDICES[:0], 3, 0))) == 0


def test_without_a_seed_the_given_order_is_kept_in_every_epoch() -> None:
    sampler = BatchSampler(INDICES, 3, None)
    assert _epoch(sampler, 0) == _epoch(sampler, 9) == INDICES.tolist()


def test_repeats_are_the_same_batches_again() -> None:
    sampler = BatchSampler(INDICES, 3, 0, repeats=2)
    batches = [draw.indices.tolist() for draw in sampler]
    assert len(batches) == len(sampler) == 6
    assert batches[:3] == batches[3:]
    assert batches[:3] == [draw.indices.tolist() for draw in BatchSampler(INDICES, 3, 0)]


def flat(batches: list[list[int]]) -> list[int]:
    return [place for batch in batches for place in batch]


def shares(number: int, batch_size: int, seed: int | None, world: int, epoch: int = 2) -> list[list[list[int]]]:
    """Return the batches of each process."""
    found = []
    for rank in range(world):
        sampler = BatchSampler(np.arange(100, 100 + number), batch_size, seed, rank=rank, world=world)
        sampler.set_epoch(epoch)
        batches = [draw.indices.tolist() for draw in sampler]
        assert len(batches) == len(sampler)
        assert all(batches)
        found.append(batches)
    return found


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
@pytest.mark.parametrize("number", [1, 3, 7, 12, 13])
def test_the_batches_of_all_processes_together_are_those_of_one(number: int, batch_size: int, world: int) -> None:
    places = np.arange(100, 100 + number)
    samplers = [BatchSampler(places, batch_size, 5, rank=rank, world=world) for rank in range(world)]
    for at, whole in enumerate(shares(number, batch_size * world, 5, 1, epoch=0)[0]):
        dealt = []
        for sampler in samplers:
            draw = [*sampler][at].indices.tolist()
            own, of_all = sampler.sizes(at)
            assert (own, of_all) == (len(draw) if own else 0, len(whole))
            dealt.append(draw[:own])
        assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
        assert sorted(flat(dealt)) == sorted(whole)
    assert {len(sampler) for sampler in samplers} == {-(-number // (batch_size * world))}


def test_a_process_without_a_recording_in_a_batch_gets_one_that_does_not_count() -> None:
    sampler = BatchSampler(np.arange(100, 107), 2, 5, repeats=2, rank=2, world=3)
    draws = [draw.indices.tolist() for draw in sampler]
    assert [len(draw) for draw in draws] == [2, 1, 2, 1]
    assert [sampler.sizes(at) for at in range(4)] == [(2, 6), (0, 1), (2, 6), (0, 1)]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
@pytest.mark.parametrize("number", [3, 4, 5, 7, 12, 13])
def test_processes_evaluate_every_recording_once_in_equally_many_batches(
    number: int, batch_size: int, world: int
) -> None:
    found = shares(number, batch_size, None, world)
    assert len({len(batches) for batches in found}) == 1
    assert sorted(place for batches in found for batch in batches for place in batch) == list(range(100, 100 + number))
    sizes = [len(batch) for batches in found for batch in batches]
    assert max(sizes) <= batch_size + (batch_size == 1 and number % world > 0)


def test_a_process_draws_another_part_in_another_epoch() -> None:
    first, second = (set(flat(shares(30, 4, 0, 2, epoch)[0])) for epoch in (0, 1))
    assert first != second


def test_fewer_recordings_than_processes_count_once_for_training_and_are_refused_for_evaluation() -> None:
    assert [flat(batches) for batches in shares(1, 4, 0, 3)] == [[100]] * 3
    assert [BatchSampler(np.arange(1), 4, 0, rank=rank, world=3).sizes(0) for rank in range(3)] == [
        (1, 1),
        (0, 1),
        (0, 1),
    ]
    with assert_raises(ValueError, 2, 3):
        BatchSampler(np.arange(2), 1, None, rank=0, world=3)
    with assert_raises(ValueError, "rank", 3):
        BatchSampler(np.arange(9), 1, 0, rank=3, world=3)
    assert shares(0, 4, 0, 2) == shares(0, 4, None, 2) == [[], []]
