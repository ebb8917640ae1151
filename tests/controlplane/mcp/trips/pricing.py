"""What a stay costs: GET /price/CITY/NIGHTS."""

from web import Refused, ask, serve


def price(city: str, nights: str) -> dict:
    found = ask("rates", f"/rates/{city}")
    cents = found["cents"] * int(nights)
    if not isinstance(cents, int):
        raise Refused(422, f"cents must be a whole number, not {cents!r}")
    return {"cents": cents, "currency": found["currency"]}


serve({"price": price})
