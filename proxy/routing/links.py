"""The preview links that a gateway serves, by the hash of their tokens. What they are: `proxy.contract.previews`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from proxy.contract.previews import Link


class LinkTable:
    """watchers: told after every change, as those of `RouteTable`."""

    __slots__ = ("_links", "watchers")

    def __init__(self) -> None:
        self.watchers: list[Callable[[], None]] = []
        self._links: dict[str, Link] = {}

    def __repr__(self) -> str:
        return f"<LinkTable {len(self._links)}>"

    def __len__(self) -> int:
        return len(self._links)

    def lookup(self, hashed: str) -> Link | None:
        return self._links.get(hashed)

    def replace(self, links: Iterable[Link]) -> None:
        """These are all."""
        self._links = {link.hash: link for link in links}
        self._changed()

    def change(self, put: Iterable[Link], remove: Iterable[str]) -> None:
        self._links.update({link.hash: link for link in put})
        for hashed in remove:
            self._links.pop(hashed, None)
        self._changed()

    def _changed(self) -> None:
        for watcher in self.watchers:
            watcher()
