"""A tree with its contents as one tar archive, for a pod that lays it over the folder of its image."""

from __future__ import annotations

import io
import json
import tarfile

from controlplane.files.store import FileStore
from controlplane.files.tree import Tree

REMOVED = ".removed"
"""In the archive, beside `files/`: a JSON list of the paths that the fork has not."""


def packed(tree: Tree, store: FileStore) -> bytes:
    """Raises OSError: a content is gone."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        _add(archive, REMOVED, json.dumps(sorted(tree.removed)).encode(), executable=False)
        for path, content in sorted(tree.files.items()):
            _add(archive, f"files/{path}", store.read(content.digest), executable=content.executable)
    return whole.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes, *, executable: bool) -> None:
    item = tarfile.TarInfo(name)
    item.size = len(data)
    item.mode = 0o755 if executable else 0o644
    archive.addfile(item, io.BytesIO(data))
