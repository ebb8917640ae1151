"""The shop's front door: `POST /checkout?user=ada&item=tea` buys one item.

Forwards every tracing header and `baggage`, as a service with an OpenTelemetry SDK does, and gives a request
that has no `x-request-id` a new one, as most front doors do.
"""

from __future__ import annotations

import uuid

import skycap  # noqa: F401 (which finds `controlplane`)
from aiohttp import web

from controlplane.demo.shop.service import Caller, refuse, serve

FORWARDS = (
    "traceparent", "tracestate", "baggage", "x-request-id",
    "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags",
)  # fmt: skip


async def checkout(request: web.Request) -> web.Response:
    user, item = request.query.get("user"), request.query.get("item")
    if not user or not item:
        raise refuse(400, "frontend", "say what to buy: POST /checkout?user=ada&item=tea")
    caller = Caller("frontend", request, FORWARDS)
    caller.set_header("x-request-id", uuid.uuid4().hex)
    customer = await caller.get("users", "users", user)
    offer = await caller.get("catalog", "offers", item, user=user)
    order = await caller.post("orders", "orders", document={"user": user, "item": item, "price": offer["price"]})
    return web.json_response({
        "customer": customer["name"],
        "tier": customer["tier"],
        "item": item,
        "price": f"{offer['price']} EUR",
        "order": order["order"],
        "charged": order["charged"],
    })  # fmt: skip


if __name__ == "__main__":
    serve("frontend", [web.post("/checkout", checkout)], calls=("users", "catalog", "orders"))
