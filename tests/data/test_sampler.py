from __future__ import annotations

import numpy as np

from snnlab.data.sampler import BatchSampler

INDICES = np.array([40, 3, 17, 8, 25, 1, 30])


def _epoch(sampler: BatchSampler, epoch: int) -> list[int]:
    sampler.set_epoch(epoch)
    draws = list(sampler)
    assert {draw.epoch for draw in draws} == {epoch}
    return np.concatenate([draw.indices for draw in draws]).tolist()


def test_the_order_is_that_of_seed_and_epoch_whatever_came_before() -> None:
    used, fresh = BatchSampler(INDICES, 2, seed=5), BatchSampler(INDICES, 2, seed=5)
    for epoch in (0, 1, 7, 2):
        _epoch(used, epoch)
    np.random.seed(0)
    assert _epoch(used, 3) == _epoch(fresh, 3)
    assert _epoch(used, 3) == _epoch(used, 3)


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


def test_the_given_list_is_not_shuffled_in_place() -> None:
    before = INDICES.copy()
    list(BatchSampler(INDICES, 3, 0))
    np.testing.assert_array_equal(INDICES, before)


def test_repeats_are_the_same_batches_again() -> None:
    sampler = BatchSampler(INDICES, 3, 0, repeats=2)
    batches = [draw.indices.tolist() for draw in sampler]
    assert len(batches) == len(sampler) == 6
    assert batches[:3] == batches[3:]
    assert batches[:3] == [draw.indices.tolist() for draw in BatchSampler(INDICES, 3, 0)]
