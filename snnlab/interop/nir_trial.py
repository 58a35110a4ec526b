"""Reads a NIR file once in a process of its own, with limits of time and memory.

HDF5's library may loop for ever in a damaged file, crash, or take more memory than the file's arrays have; no code of
the same process survives that. What is read is thrown away: the second reading gives the same values.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from snnlab.interop.nir_tree import NIRError, read_tree

# CPU time, s: of any file, and for each MB of it.
SECONDS, SECONDS_PER_MB = 10, 1
# Memory on top of the arrays, bytes.
_MEMORY = 2**28
_NO_MEMORY = 3


def require_readable(path: Path, seconds: int = SECONDS) -> None:
    """Raise a NIRError if a file is not read within the limits, or is no NIR graph.

    Args:
        path: The file.
        seconds: CPU time for a small file, s.
    """
    limit = seconds + SECONDS_PER_MB * (path.stat().st_size // 10**6)
    # sys.path, not PYTHONPATH: the package may be one that the caller's script has added.
    search = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "snnlab.interop.nir_trial", str(path), str(limit)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": search, **threads},
        check=False,
    )
    if done.returncode == -signal.SIGXCPU:
        raise NIRError(path, f"is damaged: HDF5 does not finish reading it within {limit} s")
    if done.returncode == _NO_MEMORY:
        raise NIRError(path, "is damaged: it takes more memory than its arrays have")
    if done.returncode < 0:
        raise NIRError(path, f"is damaged: HDF5 crashes on it ({signal.Signals(-done.returncode).name})")
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace"))
    if done.stdout:
        raise NIRError(*json.loads(done.stdout))


def _limit(kind: int, soft: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _limit_memory(size: int) -> None:
    """Allow arrays of a size in bytes, twice, and some more; on Linux, which says how much is in use."""
    used = Path("/proc/self/statm")
    if used.exists():
        pages = int(used.read_text().split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + _MEMORY + 2 * size)


def main(path: Path, seconds: int) -> int:
    """Read a file; print what is wrong with it, if anything is; return the exit status."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, seconds)
    _limit_memory(0)
    try:
        read_tree(path, _limit_memory)
    except NIRError as error:
        print(json.dumps([error.place, error.message]))
    except MemoryError:
        return _NO_MEMORY
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
