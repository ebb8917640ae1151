"""Charges the customer's account, in the account's currency.

Forwards only B3, single or multi: it was instrumented for Zipkin.
"""

from __future__ import annotations

import re
from decimal import Decimal

from aiohttp import web

from controlplane.demo.shop.service import Caller, refuse, serve, texts

FORWARDS = ("b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags")

AMOUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?")
"""In EUR."""

RATES = {"EUR": Decimal(1), "CHF": Decimal("0.94"), "GBP": Decimal("0.85")}
"""What one euro is worth."""


async def charge(request: web.Request) -> web.Response:
    user, wanted = await texts(request, "payments", "user", "amount")
    if not AMOUNT.fullmatch(wanted):
        raise refuse(400, "payments", f"amount must be a number such as 12.00, not {wanted!r}")
    account = await Caller("payments", request, FORWARDS).get("users", "users", user, "account")
    currency = account.get("currency")
    if not isinstance(currency, str) or currency not in RATES:
        raise refuse(400, "payments", f"{user}'s currency must be one of {', '.join(RATES)}, not {currency!r}")
    charged = (Decimal(wanted) * RATES[currency]).quantize(Decimal("0.01"))
    return web.json_response({"charged": f"{charged} {currency}"}, status=201)


if __name__ == "__main__":
    serve("payments", [web.post("/charges", charge)], calls=("users",))
