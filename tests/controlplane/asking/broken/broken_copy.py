"""A broken copy of one of the shop's services: `python broken_copy.py NAME`, where NAME is one of the functions below.

It is otherwise what the shop's own service is: PORT says where it listens, NAME_URL where the services are it calls.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Awaitable, Callable

import skycap  # noqa: F401 (which finds `controlplane`)
from aiohttp import web

from controlplane.demo.shop.service import Caller, RefusedError, serve, texts
from controlplane.demo.shop.users import USERS, account, user

TRACE = ("traceparent", "b3", "x-request-id", "baggage")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def users(handler: Handler) -> None:
    """Serve `users` with another answer to GET /users/NAME."""
    serve("users", [web.get("/users/{name}", handler), web.get("/users/{name}/account", account)])


def orders(place: Handler, calls: tuple[str, ...] = ("payments",)) -> None:
    serve("orders", [web.post("/orders", place)], calls=calls)


def hides_a_refusal() -> None:
    """It asks payments for an amount that is none, and turns the refusal into a 500 of its own."""

    async def place(request: web.Request) -> web.Response:
        name, _, _ = await texts(request, "orders", "user", "item", "price")
        try:
            await Caller("orders", request, TRACE).post(
                "payments", "charges", document={"user": name, "amount": "much"}
            )
        except RefusedError:
            return web.json_response({"error": "something went wrong"}, status=500)
        return web.json_response({"order": 1, "charged": "nothing"}, status=201)

    orders(place)


def renames_a_field() -> None:
    """`tier` is `level` now, which catalog does not know."""

    async def renamed(request: web.Request) -> web.Response:
        return web.json_response({"name": USERS[request.match_info["name"]]["name"], "level": "standard"})

    users(renamed)


def crashes() -> None:
    async def crashed(request: web.Request) -> web.Response:
        try:
            raise MemoryError("the cache of users is full")
        except MemoryError:
            traceback.print_exc()
            os._exit(3)

    users(crashed)


def never_starts() -> None:
    import currencies_of_the_world  # type: ignore[import-not-found]

    print(currencies_of_the_world)


def is_slow() -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return await user(request)

    users(slow)


def calls_nobody() -> None:
    """`ledger` is declared, and nobody listens where it should be."""

    async def place(request: web.Request) -> web.Response:
        caller = Caller("orders", request, TRACE)
        await caller.post("ledger", "entries", document={"what": "tea"})
        return web.json_response({"order": 1, "charged": "nothing"}, status=201)

    orders(place, ("ledger",))


def calls_what_does_not_exist() -> None:
    """There is no service `invoices`, so nobody has told where it is."""

    async def place(request: web.Request) -> web.Response:
        await Caller("orders", request, TRACE).get("invoices", "latest")
        return web.json_response({"order": 1, "charged": "nothing"}, status=201)

    orders(place)


def redirects() -> None:
    async def elsewhere(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"/users/{request.match_info['name']}")

    users(elsewhere)


def goes_by_legacy() -> None:
    """It charges by way of a service that has no sidecar."""

    async def place(request: web.Request) -> web.Response:
        caller = Caller("orders", request, TRACE)
        await caller.post("legacy", "charges", document={"user": "ada", "amount": "much"})
        return web.json_response({"order": 1, "charged": "nothing"}, status=201)

    orders(place, ("legacy",))


def loses_keys() -> None:
    """`reports`, a baseline that forwards nothing at all."""

    async def report(request: web.Request) -> web.Response:
        return web.json_response({"tier": (await Caller("reports", request, ()).get("users", "users", "ada"))["tier"]})

    serve("reports", [web.get("/report", report)], calls=("users",))


def legacy() -> None:
    """A service without a sidecar: forwards the trace, and says no more of a failure than that there was one."""

    async def charges(request: web.Request) -> web.Response:
        document = await request.json()
        try:
            answer = await Caller("legacy", request, ("traceparent", "baggage")).post(
                "payments", "charges", document=document
            )
        except RefusedError:
            return web.Response(status=502, text="bad gateway")
        return web.json_response(answer)

    serve("legacy", [web.post("/charges", charges)], calls=("payments",))


if __name__ == "__main__":
    globals()[sys.argv[1]]()
