"""Freed memory is reused: counted in page faults, in a separate process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from snnlab.memory import KEEP_HEAP_VARIABLE

pytestmark = pytest.mark.long  # two processes with torch

PROGRAM = """
import resource
import torch
from snnlab.memory import keep_heap

print(keep_heap())

def work():
    for _ in range(20):
        x = torch.zeros(40, 1024, 256)  # 40 MiB
        del x

work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

PAGES = 20 * 40 * 256  # of 4 KiB, of all blocks together


def run(environment: dict[str, str]) -> tuple[str, int]:
    """Return whether the heap is kept, and the page faults of blocks that were allocated before."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    kept, faults = done.stdout.split()
    return kept, int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="keeps glibc's heap, and there is none here")
def test_a_block_that_was_freed_costs_no_page_faults_again() -> None:
    # With huge pages the count of faults would depend on the machine's settings.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}
    kept, few = run(environment)
    left, many = run({**environment, KEEP_HEAP_VARIABLE: "0"})
    assert (kept, left) == ("True", "False")
    assert few < PAGES / 50
    assert few < many / 5
