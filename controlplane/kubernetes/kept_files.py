"""Pushed files in a cluster: each tree of them as ConfigMaps of the control plane's namespace, so that whoever leads
next has what was pushed before.

A tree is packed and compressed, and cut into pieces of what a ConfigMap can hold. It is kept before the Sandbox says
that it has it, and goes when no fork has it any more.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import logging
import tarfile

from controlplane.files.packed import REMOVED, packed
from controlplane.files.store import FileStore
from controlplane.files.tree import Content, Tree, digest_of
from controlplane.kubernetes.client import Kubernetes, KubernetesError, Object, path
from controlplane.kubernetes.kept import KEPT
from controlplane.kubernetes.names import GROUP
from controlplane.model.problem import invalid
from controlplane.store.port import StoreError

log = logging.getLogger(__name__)

PIECE_BYTES = 700 << 10
"""Of a ConfigMap's one MiB, a third of which base64 takes."""
MAX_BYTES = 8 << 20
"""Of one tree, compressed: etcd is a store of documents, not of files."""

TREE = f"{GROUP}/tree"
"""Annotation: the digest of the tree that a ConfigMap holds a piece of."""
_PIECE = "piece"


class KeptFiles:
    """namespace: that of the control plane; store: where the files are used from."""

    def __init__(self, kubernetes: Kubernetes, namespace: str, store: FileStore) -> None:
        self._kubernetes = kubernetes
        self._collection = path("v1", "configmaps", namespace=namespace)
        self._store = store
        self._kept: dict[str, list[str]] = {}
        """By tree: the names of its pieces."""

    def __repr__(self) -> str:
        return f"<KeptFiles {len(self._kept)}>"

    async def load(self) -> None:
        """Take up what others have kept. Raises KubernetesError."""
        pieces: dict[str, dict[str, str]] = {}
        for item in (await self._kubernetes.get(self._collection, labelSelector=f"{KEPT}=files"))["items"]:
            tree = (item["metadata"].get("annotations") or {}).get(TREE, "")
            pieces.setdefault(tree, {})[item["metadata"]["name"]] = (item.get("binaryData") or {}).get(_PIECE, "")
        for digest, found in pieces.items():
            names = sorted(found, key=lambda name: int(name.rpartition("-")[2]))
            self._kept[digest] = names
            try:
                await asyncio.to_thread(_unpack, b"".join(base64.b64decode(found[name]) for name in names), self._store)
            except (OSError, ValueError, tarfile.TarError) as error:
                log.error("pushed files %s cannot be read: %s: push them again", digest, error)

    async def keep(self, digest: str) -> None:
        """Of a tree that the store has. Raises DocumentError, StoreError."""
        tree = self._store.tree(digest)
        if tree is None or digest in self._kept:
            return
        data = await asyncio.to_thread(lambda: gzip.compress(packed(tree, self._store)))
        if len(data) > MAX_BYTES:
            limit = f"{len(data)} bytes compressed, and a cluster keeps {MAX_BYTES}"
            raise invalid("files", f"the pushed files of this fork would be {limit}: build an image")
        names = []
        try:
            for number, start in enumerate(range(0, len(data), PIECE_BYTES)):
                names.append(f"skycap-files-{digest[:32]}-{number}")
                piece = base64.b64encode(data[start : start + PIECE_BYTES]).decode()
                document: Object = {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": names[-1], "labels": {KEPT: "files"}, "annotations": {TREE: digest}},
                    "binaryData": {_PIECE: piece},
                }
                await self._kubernetes.apply(f"{self._collection}/{names[-1]}", document)
        except KubernetesError as error:
            raise StoreError(f"pushed files cannot be kept: {error}") from None
        self._kept[digest] = names

    async def sweep(self) -> None:
        """Forget what the store has forgotten."""
        for digest in [digest for digest in self._kept if self._store.tree(digest) is None]:
            try:
                for name in self._kept[digest]:
                    await self._kubernetes.delete(f"{self._collection}/{name}")
                del self._kept[digest]
            except KubernetesError as error:
                log.warning("pushed files %s are not forgotten: %s", digest, error)


def _unpack(data: bytes, store: FileStore) -> None:
    """Into the store. Raises OSError, ValueError, TarError."""
    files: dict[str, Content] = {}
    contents: list[bytes] = []
    removed: list[str] = []
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as archive:
        for item in archive:
            opened = archive.extractfile(item)
            found = opened.read() if opened is not None else b""
            if item.name == REMOVED:
                removed = json.loads(found)
            else:
                executable = bool(item.mode & 0o100)
                files[item.name.removeprefix("files/")] = Content(digest_of(found), len(found), executable)
                contents.append(found)
    store.keep(Tree(files, frozenset(removed)), contents)
