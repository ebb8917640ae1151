"""What there is to buy, and for how much: customers of the gold tier pay a tenth less.

Forwards nothing but `x-request-id`: it was written for one log file, before there was tracing.
"""

from __future__ import annotations

from decimal import Decimal

import skycap  # noqa: F401 (which finds `controlplane`)
from aiohttp import web

from controlplane.demo.shop.service import Caller, refuse, serve

FORWARDS = ("x-request-id",)

PRICES = {"tea": Decimal("12.00"), "kettle": Decimal("45.00")}
"""In EUR."""

DISCOUNTS = {"standard": Decimal(0), "gold": Decimal("0.10")}


async def offer(request: web.Request) -> web.Response:
    item = request.match_info["item"]
    if item not in PRICES:
        raise refuse(404, "catalog", f"there is no {item} to buy")
    user = request.query.get("user")
    if not user:
        raise refuse(400, "catalog", "say who asks: ?user=ada")
    customer = await Caller("catalog", request, FORWARDS).get("users", "users", user)
    discount = DISCOUNTS.get(customer["tier"], Decimal(0))
    price = (PRICES[item] * (1 - discount)).quantize(Decimal("0.01"))
    return web.json_response({"item": item, "price": str(price)})


if __name__ == "__main__":
    serve("catalog", [web.get("/offers/{item}", offer)], calls=("users",))
