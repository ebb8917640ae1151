"""Routes and watch events as tests write them."""

from __future__ import annotations

import json
from typing import Any

from proxy.contract.watch import DELETE, KEYS, PUT, SNAPSHOT, SYNCED, Event

WORKLOAD = "shop/users"


def route(key: str, port: int = 9102, **more: Any) -> dict[str, Any]:
    return {"workload": WORKLOAD, "key": key, "endpoints": [f"127.0.0.1:{port}"]} | more


def snapshot(revision: int, *routes: dict[str, Any]) -> Event:
    return Event(SNAPSHOT, json.dumps({"routes": routes}), str(revision))


def synced(revision: int) -> Event:
    return Event(SYNCED, "{}", str(revision))


def put(revision: int, key: str, port: int = 9102, **more: Any) -> Event:
    return Event(PUT, json.dumps(route(key, port, **more)), str(revision))


def delete(revision: int, key: str, workload: str = WORKLOAD) -> Event:
    return Event(DELETE, json.dumps({"workload": workload, "key": key}), str(revision))


def ended(revision: int, key: str, of: str = "", **more: Any) -> Event:
    """A delete that leaves a tombstone; `of`: another key in it."""
    tombstone = {"workload": WORKLOAD, "key": of or key} | more
    return Event(DELETE, json.dumps({"workload": WORKLOAD, "key": key, "ended": tombstone}), str(revision))


def keys(**changes: Any) -> Event:
    return Event(KEYS, json.dumps(changes), "10")
