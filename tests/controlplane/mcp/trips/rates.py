"""What a night costs: GET /rates/CITY."""

from web import Refused, serve

CENTS = {"bern": 12000, "rome": 9500}


def rate(city: str) -> dict:
    if city not in CENTS:
        raise Refused(404, f"no rate for {city}")
    return {"city": city, "cents": CENTS[city], "currency": "EUR"}


serve({"rates": rate})
