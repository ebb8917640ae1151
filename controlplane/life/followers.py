"""What the life of a sandbox needs to know of route groups, which follow it (`controlplane.life.groups`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Followers(Protocol):
    """The route groups, as sandboxes see them."""

    def owner(self, key: str) -> str | None:
        """Which of them has a routing key."""
        ...

    def keys_of(self, sandbox: str) -> Sequence[str]:
        """The routing keys of those that a sandbox is a member of."""
        ...

    def key_of(self, group: str, sandbox: str) -> str:
        """The routing key of one that a sandbox is a member of, "" when it is not, or there is none."""
        ...

    def changed(self, sandbox: str) -> None:
        """A sandbox was stored."""
        ...

    async def caught_up(self, sandbox: str) -> int:
        """Wait until they lead where the sandbox does; the revision at which they do, 0 where it has none."""
        ...

    async def release(self, key: str) -> None:
        """A sandbox takes a key that is remembered of one that has ended. Raises StoreError."""
        ...


class Nobody:
    """There are none."""

    def owner(self, key: str) -> str | None:
        return None

    def keys_of(self, sandbox: str) -> Sequence[str]:
        return ()

    def key_of(self, group: str, sandbox: str) -> str:
        return ""

    def changed(self, sandbox: str) -> None:
        return None

    async def caught_up(self, sandbox: str) -> int:
        return 0

    async def release(self, key: str) -> None:
        return None
