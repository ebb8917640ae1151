"""The line of a program's output that says what went wrong."""

from __future__ import annotations

import pytest

from controlplane.asking.printed import MAX_CHARACTERS, telling

PYTHON = """\
GET /prices/eur
Error handling request from 127.0.0.1
Traceback (most recent call last):
  File "/srv/.venv/lib/python3.12/site-packages/aiohttp/web_protocol.py", line 510, in _handle_request
    resp = await request_handler(request)
  File "/srv/pricing/app.py", line 13, in price
    return rate["cents"] * 2
           ~~~~^^^^^^^^^
KeyError: 'cents'
127.0.0.1 - - "GET /prices/eur HTTP/1.1" 500 -
"""

CHAINED = """\
Traceback (most recent call last):
  File "/srv/a.py", line 1, in f
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/b.py", line 2, in g
shop.errors.PricingError: no rate for EUR
"""

NODE = """\
/srv/app/index.js:13
  return rate.cents.toFixed(2)
TypeError: Cannot read properties of undefined (reading 'toFixed')
    at price (/srv/app/index.js:13:21)
    at Layer.handle (/srv/app/node_modules/express/lib/router/layer.js:95:5)
"""

JAVA = """\
2026-01-01 12:00:00 ERROR servlet failed
java.lang.NullPointerException: Cannot invoke "Rate.cents()" because "rate" is null
\tat shop.pricing.Prices.price(Prices.java:42)
\tat java.base/java.lang.Thread.run(Thread.java:1583)
"""

GO = """\
2026/01/01 12:00:00 http: panic serving 127.0.0.1:41234: runtime error: index out of range [3] with length 3
goroutine 7 [running]:
net/http.(*conn).serve.func1()
\t/usr/lib/go/src/net/http/server.go:1868 +0xb9
main.price(0x1)
\t/srv/pricing/main.go:27 +0x1d
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PYTHON, "KeyError: 'cents' (app.py:13)"),
        (CHAINED, "shop.errors.PricingError: no rate for EUR (b.py:2)"),
        (NODE, "TypeError: Cannot read properties of undefined (reading 'toFixed') (index.js:13)"),
        (
            JAVA,
            'java.lang.NullPointerException: Cannot invoke "Rate.cents()" because "rate" is null (Prices.java:42)',
        ),
        (
            GO,
            (
                "2026/01/01 12:00:00 http: panic serving 127.0.0.1:41234: runtime error: index out of range [3] with "
                "length 3 (main.go:27)"
            ),
        ),
        ("one\nFATAL: the disk is full\ntwo", "FATAL: the disk is full"),
        ("GET / 200\nPOST /errors/list 200", ""),
        ("Traceback (most recent call last):\n  File", ""),
        ("", ""),
    ],
)
def test_the_last_error_and_where_it_was(text: str, said: str) -> None:
    assert telling(text.splitlines()) == said


def test_an_endless_line_is_cut() -> None:
    assert len(telling(["error: " + "x" * 5000])) == MAX_CHARACTERS
