"""Charges the customer's account, in the account's currency, at a rate that it asks for by gRPC.

Forwards only B3, single or multi: it was instrumented for Zipkin. A gRPC call gets it as metadata.
"""

from __future__ import annotations

import re
from decimal import Decimal

import skycap  # noqa: F401 (which finds `controlplane`)
from aiohttp import web

from controlplane.demo.shop.service import Caller, refuse, serve, texts

FORWARDS = ("b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags")

AMOUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?")
"""In EUR."""


async def charge(request: web.Request) -> web.Response:
    user, wanted = await texts(request, "payments", "user", "amount")
    if not AMOUNT.fullmatch(wanted):
        raise refuse(400, "payments", f"amount must be a number such as 12.00, not {wanted!r}")
    caller = Caller("payments", request, FORWARDS)
    account = await caller.get("users", "users", user, "account")
    rates = await caller.rpc("rates", "shop.Rates/List", {})
    currency = account.get("currency")
    if not isinstance(currency, str) or currency not in rates:
        raise refuse(400, "payments", f"{user}'s currency must be one of {', '.join(rates)}, not {currency!r}")
    charged = (Decimal(wanted) * Decimal(rates[currency])).quantize(Decimal("0.01"))
    return web.json_response({"charged": f"{charged} {currency}"}, status=201)


if __name__ == "__main__":
    serve("payments", [web.post("/charges", charge)], calls=("users", "rates"))
