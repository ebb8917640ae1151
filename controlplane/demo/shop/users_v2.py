"""`users` with a loyalty programme: who has been with us long enough is in the gold tier."""

from __future__ import annotations

import skycap  # noqa: F401 (which finds `controlplane`)
from aiohttp import web

from controlplane.demo.shop.service import serve
from controlplane.demo.shop.users import USERS, account, user

USERS["ada"]["tier"] = "gold"

if __name__ == "__main__":
    serve("users", [web.get("/users/{name}", user), web.get("/users/{name}/account", account)])
