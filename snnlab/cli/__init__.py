"""The command line: one file a command, here or in a folder that `SNNLAB_COMMANDS` names."""

from __future__ import annotations

import os

__path__ += [folder for folder in os.environ.get("SNNLAB_COMMANDS", "").split(os.pathsep) if folder]
