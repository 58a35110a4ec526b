"""Setup of the kernel tests: the fixtures of tests/nn, and the helpers of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

from ..nn.conftest import _loops_in_python, _one_thread, _seed

__all__ = ["_loops_in_python", "_one_thread", "_seed"]  # the fixtures

sys.path.insert(0, str(Path(__file__).parent))
