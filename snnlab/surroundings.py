"""What a process was started in and cannot work with: no working folder, too little address space."""

from __future__ import annotations

import os
import re
import resource
import sys

# What loaders say of a library for which there is no room left, each in its own words.
_NO_ROOM = ("failed to map segment", "could not find/load shared object", "cannot allocate memory", "can't allocate")


# What `Path.expanduser` says.
_NO_HOME = "Could not determine home directory."


def missing_folder() -> str | None:
    """Return in words that the working folder was deleted, which PyTorch does not survive; None where it is there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return "the working folder is gone; cd to another one"
    return None


def explained(error: Exception) -> str | None:
    """Return in words that an error comes from what the process was given, or None where it does not."""
    if isinstance(error, RuntimeError) and str(error) == _NO_HOME:
        user = next((found[0] for word in sys.argv if (found := re.search(r"~[^/=]+", word))), "~")
        return f"{user}: there is no such user's home; write the path in full"
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    short = isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_ROOM)
    if short and limit != resource.RLIM_INFINITY:
        return f"out of memory: {limit / 1e9:.1f} GB of addresses, which is all that ulimit -v gives, are too little"
    return None
