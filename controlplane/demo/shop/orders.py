"""Takes orders and has them paid.

Forwards only `traceparent`: its tracing library knows W3C Trace Context, and no baggage.
"""

from __future__ import annotations

from itertools import count

import skycap  # noqa: F401 (which finds `controlplane`)
from aiohttp import web

from controlplane.demo.shop.service import Caller, serve, texts

FORWARDS = ("traceparent",)

numbers = count(1)


async def place(request: web.Request) -> web.Response:
    user, _item, price = await texts(request, "orders", "user", "item", "price")
    caller = Caller("orders", request, FORWARDS)
    charge = await caller.post("payments", "charges", document={"user": user, "amount": price})
    return web.json_response({"order": next(numbers), "charged": charge["charged"]}, status=201)


if __name__ == "__main__":
    serve("orders", [web.post("/orders", place)], calls=("payments",))
