"""The difference of two JSON documents as a JSON Patch (RFC 6902): what an admission webhook answers with."""

from __future__ import annotations

from typing import Any

Operation = dict[str, Any]


def difference(before: Any, after: Any, path: str = "") -> list[Operation]:
    """Operations that make `after` of `before`, in an order in which they can be applied.

    A list that has grown or shrunk is replaced as a whole: a pod's lists are short, and positions are easily wrong.
    """
    if type(before) is not type(after):
        return [{"op": "replace", "path": path, "value": after}]
    if isinstance(before, dict):
        found = [{"op": "remove", "path": _below(path, name)} for name in before if name not in after]
        for name, value in after.items():
            if name in before:
                found += difference(before[name], value, _below(path, name))
            else:
                found.append({"op": "add", "path": _below(path, name), "value": value})
        return found
    if isinstance(before, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [change for at, (old, new) in pairs for change in difference(old, new, f"{path}/{at}")]
    return [] if before == after else [{"op": "replace", "path": path, "value": after}]


def _below(path: str, name: str) -> str:
    return f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
