"""What one euro is worth in other currencies: a gRPC service, `shop.Rates/List`, that calls nobody.

`GET /health` is answered on the same port, as any service's is.
"""

from __future__ import annotations

import skycap  # noqa: F401 (which finds `controlplane`)

from controlplane.demo.shop.rpc import Metadata
from controlplane.demo.shop.service import serve

RATES = {"EUR": "1", "CHF": "0.94", "GBP": "0.85"}


async def rates(_: object, __: Metadata) -> dict[str, str]:
    return RATES


if __name__ == "__main__":
    serve("rates", [], methods={"shop.Rates/List": rates})
