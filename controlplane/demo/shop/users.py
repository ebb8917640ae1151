"""Who the customers are, and which account pays for them."""

from __future__ import annotations

import skycap  # noqa: F401 (which finds `controlplane`)
from aiohttp import web

from controlplane.demo.shop.service import refuse, serve

USERS = {
    "ada": {"name": "Ada Lovelace", "tier": "standard"},
    "bob": {"name": "Bob Taylor", "tier": "standard"},
}
ACCOUNTS = {
    "ada": {"number": "CH93-0076", "currency": "EUR"},
    "bob": {"number": "DE89-3704", "currency": "EUR"},
}


async def user(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if name not in USERS:
        raise refuse(404, "users", f"there is no user {name}")
    return web.json_response(USERS[name])


async def account(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if name not in ACCOUNTS:
        raise refuse(404, "users", f"{name} has no account")
    return web.json_response(ACCOUNTS[name])


if __name__ == "__main__":
    serve("users", [web.get("/users/{name}", user), web.get("/users/{name}/account", account)])
