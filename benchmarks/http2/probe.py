"""Who answers over HTTP/2: how peers are checked before and after a scenario."""

from __future__ import annotations

from benchmarks.errors import WrongAnswer
from benchmarks.http2.answers import ROLE, SpoiledError
from benchmarks.http2.client import Answer, Client
from benchmarks.http2.requests import Kind, message
from benchmarks.traffic import FORKED, UNFORKED

FETCH = Kind(path="/", grpc=False)
CALL = Kind()


def ask(port: int, kind: Kind, number: int = 0) -> Answer:
    """One request on a connection of its own. Raises OSError and SpoiledError."""
    with Client(port, kind) as client:
        client.begin(number, ends=not kind.grpc)
        if kind.grpc:
            client.send(message(number), ends=True)
        return client.whole()


def answers(port: int, kind: Kind) -> bool:
    """Whether something there answers a request with 200."""
    try:
        return ask(port, kind).fields.get(":status") == "200"
    except (OSError, SpoiledError):
        return False


def check_routing(name: str, port: int, grpc: bool, forked: str) -> None:
    """Ask for every kind of key and compare who answered, and with what. Raises WrongAnswer at the first difference."""
    asked = [(key, forked) for key in (FORKED[0], FORKED[42], FORKED[-1])]
    asked += [(key, "baseline") for key in (UNFORKED[0], UNFORKED[-1], "")]
    for key, expected in asked:
        keys = (key,) if key else ()
        kind = Kind(keys) if grpc else Kind(keys, "/", grpc=False)
        what = f"{name}, {'key ' + key if key else 'no key'}"
        try:
            answer = ask(port, kind)
        except (OSError, SpoiledError) as error:
            raise WrongAnswer(f"{what}: no answer: {type(error).__name__}: {error}") from error
        who = answer.fields.get(ROLE, "") if grpc else answer.body.rstrip(b".").decode("latin-1")
        good = (answer.trailers.get("grpc-status"), answer.body) == ("0", message(0)) if grpc else True
        if answer.fields.get(":status") != "200" or who != expected or not good:
            raise WrongAnswer(f"{what}: expected {expected}, got {answer}")
