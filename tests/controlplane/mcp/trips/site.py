"""What people open: GET /trip/CITY/NIGHTS."""

from web import ask, serve


def trip(city: str, nights: str) -> dict:
    found = ask("pricing", f"/price/{city}/{nights}")
    return {"city": city, "nights": int(nights), "total": f"{found['cents'] / 100:.2f} {found['currency']}"}


serve({"trip": trip})
