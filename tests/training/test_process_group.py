"""Collective operations with a single process, and errors of lost processes."""

from __future__ import annotations

import pytest

from snnlab.training.distributed import all_gather, all_reduce_max, is_lost_process


def test_a_single_process_gets_its_own_values():
    assert all_reduce_max(3) == 3
    assert all_gather({"a": 1}) == [{"a": 1}]


@pytest.mark.parametrize(
    ("words", "lost"),
    [
        ("[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4711", True),
        ("NCCL communicator was aborted on rank 0", True),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_errors_of_lost_processes_are_recognized(words: str, lost: bool):
    assert is_lost_process(RuntimeError(words)) == lost
