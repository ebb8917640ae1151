"""What has changed, for whoever shows it: names only, gathered until the follower looks."""

from __future__ import annotations

import asyncio


class Follower:
    """changed: names of sandboxes since it was emptied last, "" for the baselines. more: set when there are any."""

    def __init__(self) -> None:
        self.changed: set[str] = set()
        self.more = asyncio.Event()

    def take(self) -> set[str]:
        taken, self.changed = self.changed, set()
        self.more.clear()
        return taken


class Changes:
    """Who follows."""

    def __init__(self) -> None:
        self._followers: set[Follower] = set()

    def __repr__(self) -> str:
        return f"<Changes with {len(self._followers)} followers>"

    def tell(self, name: str) -> None:
        """Something of it is different: a sandbox, or "" for the baselines."""
        for follower in self._followers:
            follower.changed.add(name)
            follower.more.set()

    def follow(self) -> Follower:
        follower = Follower()
        self._followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        self._followers.discard(follower)

    def close(self) -> None:
        """The registry ends: everybody looks once more."""
        for follower in self._followers:
            follower.more.set()
