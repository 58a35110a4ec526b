"""Effects of each mixing on frames: the source of each cell, and the weight of each class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from snnlab.data.events.frames import Batch
from snnlab.data.mixing import MIXES, build_mixing
from snnlab.errors import ConfigError, UnknownSettingError

from ..refusals import assert_raises

T, B, P, H, W = 6, 5, 2, 7, 9
KINDS = list(MIXES)
SHAPES = {"rows": (T, B, P, H, W), "columns": (T, B, P, W), "one polarity": (T, B, W)}


def frames(shape: tuple[int, ...], channels_last: bool = True) -> Batch:
    """Return counts that differ from recording to recording in every cell, so that each cell reveals its source."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.integers(0, 4, shape)) * 10 + torch.arange(1, B + 1).view(1, B, *[1] * (len(shape) - 2))
    x = x.float()
    if channels_last and len(shape) == 5:
        x = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    lengths = torch.tensor([T, T, 3, T, 2])
    return Batch(x, lengths, torch.tensor([2, 0, 1, 3, 3]), torch.tensor([8, 3, 5, 1, 2]))


def mixed(kind: str, batch: Batch, seed: int, **settings: Any) -> tuple[Batch, Tensor]:
    """Return the mixed batch, and the places of the recordings with which each was mixed."""
    done = build_mixing({"type": kind, **settings})(batch, np.random.default_rng(seed))
    return done, torch.from_numpy(np.random.default_rng(seed).permutation(B))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_shapes_memory_and_the_rest_stay_and_the_weights_are_parts_of_one(kind: str, shape: tuple[int, ...]) -> None:
    batch = frames(shape)
    before = batch.x.clone()
    for seed in range(10):
        done, order = mixed(kind, batch, seed)
        assert done.mix is not None
        assert (done.x.shape, done.x.dtype, done.x.stride()) == (batch.x.shape, torch.float32, batch.x.stride())
        assert done.targets is batch.targets
        assert done.index is batch.index
        assert done.mix.targets.tolist() == batch.targets[order].tolist()
        assert done.lengths.tolist() == torch.maximum(batch.lengths, batch.lengths[order]).tolist()
        assert done.mix.weight.shape == (B,)
        assert ((done.mix.weight >= 0) & (done.mix.weight <= 1)).all()
        weights = torch.zeros(B, 4).scatter_add_(1, done.mix.targets[:, None], done.mix.weight[:, None])
        weights.scatter_add_(1, batch.targets[:, None], 1 - done.mix.weight[:, None])
        torch.testing.assert_close(weights.sum(1), torch.ones(B))
    assert torch.equal(batch.x, before)
    assert batch.mix is None


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_mixup_is_the_weighted_mean(shape: tuple[int, ...]) -> None:
    batch = frames(shape)
    done, order = mixed("mixup", batch, 3, alpha=0.5)
    assert done.mix is not None
    part = done.mix.weight[0]
    assert 0 < part < 1
    assert (done.mix.weight == part).all()
    torch.testing.assert_close(done.x, (1 - part) * batch.x + part * batch.x[:, order])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kind", ["cutmix", "eventmix"])
def test_every_cell_is_one_of_the_two_recordings_own(kind: str, shape: tuple[int, ...]) -> None:
    batch = frames(shape)
    some = False
    for seed in range(20):
        done, order = mixed(kind, batch, seed)
        other = order[:, None].expand(B, B)[:, 0] + 1
        own = torch.arange(1, B + 1)
        origin = done.x.remainder(10).movedim(1, 0).flatten(1)
        theirs = (origin == other[:, None]) & (other != own)[:, None]
        assert (theirs | (origin == own[:, None])).all()
        whole = torch.where(theirs.view(B, T, -1), batch.x[:, order].movedim(1, 0).flatten(2), 0)
        rest = torch.where(theirs.view(B, T, -1), 0, batch.x.movedim(1, 0).flatten(2))
        assert torch.equal(done.x.movedim(1, 0).flatten(2), whole + rest)
        masks = theirs[other != own]
        assert (masks == masks[0]).all()  # one mask for a batch
        some |= bool(masks.any()) and not bool(masks.all())
    assert some


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_cutmix_takes_a_rectangle_at_all_times_and_weighs_its_area(shape: tuple[int, ...]) -> None:
    batch, sizes = frames(shape), []
    batch = batch._replace(frames=torch.arange(1.0, B + 1).view(1, B, *[1] * (len(shape) - 2)).expand(shape).clone())
    for seed in range(30):
        done, order = mixed("cutmix", batch, seed)
        assert done.mix is not None
        moved = next(b for b in range(B) if int(order[b]) != b)
        mask = done.x[:, moved] != moved + 1
        assert (mask == mask[:1]).all()
        mask = mask[0] if len(shape) == 3 else mask[0, 0]
        across, down = mask.reshape(-1, W).any(0), mask.reshape(-1, W).any(1)
        assert int(mask.sum()) == int(across.sum() * down.sum())
        assert int(across.sum()) == 0 or across.nonzero().max() - across.nonzero().min() + 1 == across.sum()
        torch.testing.assert_close(done.mix.weight, torch.full((B,), float(mask.float().mean())))
        sizes.append(int(mask.sum()))
    assert len(set(sizes)) > 5


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_eventmix_weighs_each_recording_by_its_events(shape: tuple[int, ...]) -> None:
    batch = frames(shape)
    for seed in range(10):
        done, order = mixed("eventmix", batch, seed)
        assert done.mix is not None
        for b in range(B):
            if int(order[b]) == b:
                continue
            theirs = done.x[:, b].remainder(10) == int(order[b]) + 1
            share = done.x[:, b][theirs].sum() / done.x[:, b].sum()
            torch.testing.assert_close(done.mix.weight[b], share)


def test_eventmix_covers_the_part_that_is_drawn_in_pieces_of_space_and_time() -> None:
    parts = []
    x = torch.stack([torch.zeros(T, 1, H, W), torch.ones(T, 1, H, W)], 1)
    batch = Batch(x, torch.tensor([T, T]), torch.tensor([0, 1]), torch.tensor([0, 1]))
    for seed in range(30):
        rng = np.random.default_rng(seed)
        order, part = rng.permutation(2), rng.beta(1.0, 1.0)
        done = build_mixing({"type": "eventmix"})(batch, np.random.default_rng(seed))
        if order[0] == 0:
            assert torch.equal(done.x, x)
            continue
        mask = done.x[:, 0] == 1
        assert int(mask.sum()) == pytest.approx(part * T * H * W, abs=1)
        parts.append(float(mask.float().mean()))
        varies = mask.float().flatten(1).mean(1)
        assert parts[-1] in (0, 1) or len(set(varies.tolist())) > 1  # not the same at all times
    assert max(parts) > 0.7
    assert min(parts) < 0.3


@pytest.mark.parametrize("scale", [-1.0, 1e-3])
def test_eventmix_weighs_signed_frames_and_rates_as_it_does_counts(scale: float) -> None:
    batch = frames(SHAPES["rows"])
    counts = mixed("eventmix", batch, 4)[0].mix
    others = mixed("eventmix", batch._replace(frames=scale * batch.x), 4)[0].mix
    assert counts is not None
    assert others is not None
    torch.testing.assert_close(counts.weight, others.weight)


def test_recordings_without_events_keep_their_class() -> None:
    batch = frames(SHAPES["rows"])
    done, _ = mixed("eventmix", batch._replace(frames=torch.zeros_like(batch.x)), 0)
    assert done.mix is not None
    assert done.mix.weight.tolist() == [0] * B


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_generator_does_the_same_and_another_something_else(kind: str) -> None:
    batch = frames(SHAPES["rows"])
    first, again, other = (mixed(kind, batch, seed)[0].x for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_part_of_the_batches_is_mixed(kind: str) -> None:
    batch = frames(SHAPES["rows"])
    done = [mixed(kind, batch, seed, p=0.5)[0] for seed in range(100)]
    assert 30 < sum(each.mix is not None for each in done) < 70
    assert all(each is batch for each in done if each.mix is None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_one_is_mixed_with_itself(kind: str) -> None:
    whole = frames(SHAPES["rows"])
    batch = Batch(whole.x[:, :1], whole.lengths[:1], whole.targets[:1], whole.index[:1])
    done = build_mixing({"type": kind})(batch, np.random.default_rng(0))
    torch.testing.assert_close(done.x, batch.x)


@pytest.mark.parametrize(
    ("node", "message_parts"),
    [
        ("mixup", ("data.mix", 0.2, "mixup")),
        ({"alpha": 0.2}, ("data.mix", "eventmix")),
        ({"type": "mixupp"}, ("data.mix.type", "mixupp", "mixup")),
        (
            {"type": "mixup", "alfa": 1},
            ("data.mix.alfa", "alpha"),
        ),
        ({"type": "mixup", "alpha": "a"}, ("data.mix.alpha", "expected")),
        ({"type": "cutmix", "alpha": 0}, ("data.mix.alpha", 0)),
        ({"type": "cutmix", "p": 0}, ("data.mix.p", 0, 1)),
        ({"type": "eventmix", "gaussians": 0}, ("data.mix.gaussians", 1, 0)),
    ],
)
def test_invalid_settings_are_named_by_their_place(node: Any, message_parts: tuple) -> None:
    with assert_raises((ConfigError, UnknownSettingError), *message_parts):
        build_mixing(node)


def test_mixup_averages_values_like_frames() -> None:
    values = torch.arange(2.0 * B).reshape(B, 2) ** 2
    batch = frames(SHAPES["columns"])._replace(targets=values)
    done = build_mixing({"type": "mixup", "alpha": 1.0}, "value")(batch, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    order = torch.from_numpy(rng.permutation(B))
    part = float(rng.beta(1.0, 1.0))
    torch.testing.assert_close(done.targets, (1 - part) * values + part * values[order])
    assert done.mix is None
    assert torch.equal(batch.targets, values)


@pytest.mark.parametrize(("kind", "targets"), [(kind, "steps") for kind in KINDS] + [("cutmix", "value")])
def test_a_mixing_not_defined_for_the_targets_is_refused(kind: str, targets: Any) -> None:
    with assert_raises(ConfigError, "data.mix", "data.targets", kind, targets):
        build_mixing({"type": kind}, targets)
