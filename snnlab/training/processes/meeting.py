"""Where the processes of a training find each other, and leave words for each other before they are connected."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.rendezvous import rendezvous

_HERE = "127.0.0.1"


class Meeting:
    """Words by keys, kept by one process and seen by all.

    Args:
        store: One of torch's stores.
    """

    def __init__(self, store: Any) -> None:
        self.store = store

    @classmethod
    def hosted(cls) -> Meeting:
        """Return one that this process keeps, for others on this machine."""
        return cls(TCPStore(_HERE, 0, is_master=True, wait_for_workers=False))

    @classmethod
    def at(cls, port: int) -> Meeting:
        """Return the one that another process on this machine keeps.

        Args:
            port: Its `port`.
        """
        return cls(TCPStore(_HERE, port, is_master=False))

    @classmethod
    def outside(cls, rank: int, world: int) -> Meeting:
        """Return the one at MASTER_ADDR and MASTER_PORT, which torchrun or the first process keeps.

        Args:
            rank: Which of the processes this is.
            world: Their number.
        """
        return cls(next(iter(rendezvous("env://", rank, world)))[0])

    @property
    def port(self) -> int:
        """Where others find it."""
        return self.store.port

    def tell(self, key: str, words: bytes) -> None:
        """Leave words."""
        self.store.set(key, words)

    def told(self, key: str) -> bytes:
        """Return the words of a key, once they are there."""
        return self.store.get(key)

    def await_word(self, key: str, patience: timedelta) -> None:
        """Wait for the words of a key.

        Args:
            key: The key.
            patience: For how long.
        """
        self.store.wait([key], patience)

    def has(self, keys: Sequence[str]) -> bool:
        """Return whether there are words for all keys."""
        return self.store.check(list(keys))

    def part(self, name: str) -> Any:
        """Return a store of torch's for one connection, apart from all else."""
        return PrefixStore(name, self.store)
