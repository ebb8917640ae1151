"""Pushed files: which have to be sent, their contents, the push itself, and what differs by them."""

from __future__ import annotations

from aiohttp import web

from controlplane.api.access import NAMESPACE
from controlplane.api.body import read_as, read_bytes
from controlplane.api.operations import (
    FORK_FILTER,
    REGISTRY,
    SANDBOX_NAME,
    SETTLED_WAIT,
    Answer,
    Operation,
    Parameter,
    Values,
    json_answer,
    json_items,
    wait_seconds,
)
from controlplane.files.tree import MAX_FILE_BYTES, digest_of
from controlplane.model.problem import DIGEST, invalid
from controlplane.model.push import (
    MAX_ASKED,
    MAX_PUSHED,
    Needed,
    Push,
    Pushed,
    PushedFile,
    Question,
    parse_push,
    parse_question,
)

CONTENT = Parameter("digest", "path", DIGEST, "SHA-256 of the content", True, "e3b0c44298fc1c149afbf4c8996fb924" * 2)

TREE = Parameter("digest", "path", DIGEST, "of the tree, as a fork's `files` has it", True, CONTENT.example)


def operations() -> tuple[Operation, ...]:
    return (
        Operation(
            "POST", "/v1/sandboxes/{name}/push", "pushFiles",
            "Change files of one fork, which is started anew with them; what is not there yet is made", _push,
            {200: Answer("what became of it", Pushed)},
            (SANDBOX_NAME, SETTLED_WAIT), body=Push, problems=(408, 409, 413, 415, 422, 503, 507),
        ),
        Operation(
            "POST", "/v1/sandboxes/{name}/files", "askFiles",
            "Which of these files the sandbox has otherwise, and which contents have to be uploaded", _ask,
            {200: Answer("what has to be sent", Needed)},
            (SANDBOX_NAME,), body=Question, problems=(408, 413, 415, 422, 507), asks=True,
        ),
        Operation(
            "GET", "/v1/sandboxes/{name}/files", "listFiles",
            "The files in which its forks differ from the baseline's work folder", _list,
            {200: Answer("by fork and path", PushedFile, many=True)},
            (SANDBOX_NAME, FORK_FILTER), problems=(404, 422, 507),
        ),
        Operation(
            "PUT", "/v1/files/{digest}", "putFile", "Upload the content of a file that is about to be pushed", _put,
            {204: Answer("it is kept for an hour, and as long as a push has named it")},
            (CONTENT,), lines="application/octet-stream", problems=(408, 413, 415, 422, 507),
        ),
        Operation(
            "GET", "/v1/trees/{digest}", "getTree", "The pushed files of a fork, for the pod that lays them", _tree,
            {200: Answer("a tar archive: the files below `files/`, and `.removed`", media_type="application/x-tar")},
            (TREE,), problems=(404, 503), sidecars=True,
        ),
    )  # fmt: skip


async def _push(request: web.Request, values: Values) -> web.Response:
    push = await read_as(request, parse_push, MAX_PUSHED)
    return json_answer(await request.app[REGISTRY].pushing.push(values["name"], push, wait_seconds(values)))


async def _ask(request: web.Request, values: Values) -> web.Response:
    question = await read_as(request, parse_question, MAX_ASKED)
    return json_answer(await request.app[REGISTRY].pushing.ask(values["name"], question))


async def _list(request: web.Request, values: Values) -> web.Response:
    workload = values.get("workload", "")
    return json_items(await request.app[REGISTRY].pushing.compared(values["name"], workload))


async def _put(request: web.Request, values: Values) -> web.Response:
    data = await read_bytes(request, MAX_FILE_BYTES)
    found = digest_of(data)
    if found != values["digest"]:
        raise invalid("digest", f"the body has the digest {found}: it did not arrive as it was sent")
    await request.app[REGISTRY].pushing.upload(data)
    return web.Response(status=204)


async def _tree(request: web.Request, values: Values) -> web.Response:
    """A pod asks with the token of a sidecar: it gets the files of its own namespace's forks."""
    data = await request.app[REGISTRY].pushing.packed(values["digest"], request.get(NAMESPACE, ""))
    return web.Response(body=data, content_type="application/x-tar")
